"""Figures of a split data set for the console and the report, and warnings of implausible data."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import gammaln

from twotower.config.errors import InputError
from twotower.data.actions import HISTORY, TRAIN, Actions
from twotower.data.blocks import blocks_of_users, release_pages
from twotower.data.dataset import Audit
from twotower.data.interactions import Interactions
from twotower.data.load_source import LoadedSource
from twotower.data.split_interactions import SplitInteractions
from twotower.data.splits.split import NONE, Split
from twotower.data.tables import ENTITIES
from twotower.data.times import date

LABELS = {
    "interactions": "rows (interactions)",
    "first_time": "first interaction",
    "last_time": "last interaction",
    "valid_interactions": "valid targets",
    "test_interactions": "test targets",
    "cold_users": "cold test users",
    "cold_items": "cold test items",
    "repeat_targets": "repeat targets (dropped)",
    "repeats_kept": "repeat targets (kept)",
    "equal_timestamp_rate": "equal-timestamp rate",
    "future_leak_rate": "future-leak rate",
    "seen_filter": "seen-filter",
}
"""Audit key -> label on the console, if it is not the key in words."""
WARNING = "warning"
"""Key of the audit that is not part of the table."""
MIN_STEPS = 3
"""Minimum number of changes of item of a user whose rows are tested."""
MIN_EVIDENCE = math.log(1e12)
"""Minimum of minus the log probability of the ascending lists in random order, for a report."""
LOWER_ID_SHARE = 0.9
"""Minimum share of ties with the lower id first, for rows of equal times to count as sorted by id."""
RATES = {"density", "equal_timestamp_rate", "future_leak_rate"}


def audit(loaded: LoadedSource, cut: SplitInteractions, split: Split) -> Audit:
    """Return figures of a split data set, and one `warning` if the data is implausible.

    `cold_users` and `cold_items` are distinct users and items of the test targets without a training
    interaction. Raises InputError if rows in the order of time are sorted by item id.
    """
    interactions, tables = loaded.interactions, loaded.tables
    train, valid, test, positives = cut.train, cut.valid, cut.test, interactions.positives
    if tables.has_times:
        first, last = int(interactions.times.min()), int(interactions.times.max())
        order: Audit = {"first_time": date(first), "last_time": date(last)}
    else:
        order = {"order": "rows" if tables.ordered else "none (drawn)"}
    figures: Audit = {
        "split": split.name,
        "interactions": len(interactions),
        "users": interactions.num_users,
        "items": interactions.num_items,
        "density": len(positives) / (interactions.num_users * interactions.num_items),
        **order,
        "train_interactions": len(train),
        "valid_interactions": len(valid.target_times),
        "test_interactions": len(test.target_times),
        "valid_users": len(valid.users),
        "test_users": len(test.users),
        "cold_users": int((train.counts()[test.users] == 0).sum()),
        "cold_items": len(np.setdiff1d(test.target_items, pd.unique(train.items))),
        "repeat_targets": valid.num_repeats + test.num_repeats,
        **({"repeats_kept": int(valid.is_repeat.sum() + test.is_repeat.sum())} if test.repeats else {}),
        "unused_interactions": int((cut.parts == NONE).sum()),
        **(_rates_of_times(interactions, cut) if tables.has_times else {}),
        **({} if split.config.user_share == 1 else {"user_share": split.config.user_share}),
        **split.audit(positives),
        **_action_figures(interactions, cut, tables.actions),
    }
    for table, ids in loaded.added_ids.items():
        if number := int(getattr(tables, table)[ENTITIES[table]].isin(ids).sum()):
            figures[f"{table}_without_row"] = number
    release_pages(interactions.times, train.times, train.items)
    warning, source_path = None, tables.source_path("interactions")
    if not tables.has_times and tables.ordered:
        warning = _check_row_order(interactions, source_path)
    elif tables.has_times and split.by_order:
        warning = _warning_of_ties(cut, source_path)
    return figures | ({WARNING: warning} if warning else {})


def _rates_of_times(interactions: Interactions, cut: SplitInteractions) -> Audit:
    """Return the rate of equal times and the future-leak rate.

    `equal_timestamp_rate` is the share of consecutive interactions of a user with equal times, which are in
    the order of the source. `future_leak_rate` is the share of test targets that are earlier than some
    interaction of any user in the train part.
    """
    begins = interactions.offsets[:-1][interactions.counts() > 0]
    is_equal = interactions.times[1:] == interactions.times[:-1]
    is_equal[begins[1:] - 1] = False
    return {
        "equal_timestamp_rate": int(is_equal.sum()) / max(len(interactions) - len(begins), 1),
        "future_leak_rate": float((cut.train.times.max() > cut.test.target_times).mean()),
    }


def _action_figures(interactions: Interactions, cut: SplitInteractions, actions: Actions) -> Audit:
    """Return figures of labels and events, if the data has them."""
    figures: Audit = {}
    if actions.num_ignored:
        figures["ignored_interactions"] = actions.num_ignored
    if interactions.roles is not None:
        figures["positive_interactions"] = int(interactions.is_positive.sum())
        figures["impressions_without_click"] = int(interactions.is_impression.sum())
        figures["history_only"] = int((interactions.roles == HISTORY).sum())
        if train_only := int((interactions.roles == TRAIN).sum()):
            figures["train_only"] = train_only
        if interactions.is_impression.any():
            for name, holdout in {"valid": cut.valid, "test": cut.test}.items():
                figures[f"{name}_labelled"] = 0 if holdout.labelled is None else len(holdout.labelled.labels)
    if interactions.events is not None:
        counts = np.bincount(interactions.events, minlength=len(actions.event_types) + 1).tolist()
        events = zip(actions.event_types, counts[1:], strict=True)
        figures |= {f"event_{name}": count for name, count in events if count}
    return figures


def _check_row_order(interactions: Interactions, source_path: str) -> str | None:
    """Return a warning if the items of more than half of the users ascend by id.

    n items in random order ascend with probability 1 / n!. Rows of train, valid and test are tested apart.

    Raises InputError if the items of all users ascend.
    """
    number = ascending = 0
    evidence = 0.0
    for rows in blocks_of_users(interactions.offsets, interactions.items):
        begins = np.diff(interactions.user_rows(rows), prepend=-1) != 0
        if interactions.given is not None:
            begins[1:] |= np.diff(interactions.given[rows]) != 0
        line = np.cumsum(begins) - 1
        steps = np.where(begins[1:], 0, np.sign(np.diff(interactions.items[rows])))
        ups, downs = (np.bincount(line[1:], steps == sign, line[-1] + 1) for sign in (1, -1))
        is_long = ups + downs >= MIN_STEPS
        ascends = is_long & (downs == 0)
        number, ascending = number + int(is_long.sum()), ascending + int(ascends.sum())
        evidence += float(gammaln(ups[ascends] + 2).sum())
    if 2 * ascending <= number or evidence < MIN_EVIDENCE:
        return None
    whose = "users" if interactions.given is None else "users' lists (train and test apart)"
    remedy = "sort the rows by time, or set data.ordered=false, which draws an order"
    if ascending < number:
        return (
            f"{source_path}: the items of {ascending:,} of {number:,} {whose} ascend by id, as in a file "
            f"that is sorted by id and not by time; if it is, {remedy}"
        )
    raise InputError(
        f"{source_path}: the items of all {number:,} {whose} of {MIN_STEPS + 1} or more ascend by id, "
        f"so the rows are sorted by id and not by time; {remedy} (twotower init: --unordered)"
    )


def _warning_of_ties(cut: SplitInteractions, source_path: str) -> str | None:
    """Return a warning if the order of rows of equal times decides the first target of most users."""
    for name, window in (("valid", cut.valid), ("test", cut.test)):
        history, offsets = window.history, np.asarray(window.history.offsets)
        begins, ends = offsets[window.users], offsets[window.users + 1]
        first, last = window.target_offsets[:-1][ends > begins], ends[ends > begins] - 1
        is_tied = np.asarray(history.times[last]) == window.target_times[first]
        num_tied = int(is_tied.sum())
        if 2 * num_tied > len(window.users):
            higher = window.target_items[first[is_tied]] > np.asarray(history.items[last[is_tied]])
            ids = "; rows of equal times ascend by item id: the target is the highest"
            ids = ids if higher.mean() > LOWER_ID_SHARE else ""
            return (
                f"{source_path}: the first target of {num_tied:,} of {len(window.users):,} {name} users has "
                "the time of the interaction before it, so the order of rows decides which of them is "
                f"predicted{ids}; use split=temporal, or a column of finer times"
            )
    return None


def audit_summary(audit: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the sizes of the data and of the split as two (label, value) rows."""
    number = {key: f"{value:,}" for key, value in audit.items() if isinstance(value, int)}
    times = (
        f", {str(audit['first_time'])[:10]} to {str(audit['last_time'])[:10]}"
        if "first_time" in audit
        else ""
    )
    sizes = f"{number['interactions']} interactions, {number['users']} users, {number['items']} items"
    parts = ", ".join(
        f"{number[f'{part}_interactions']} {name} ({number[f'{part}_users']} users)"
        for part, name in {"valid": "validation", "test": "test"}.items()
    )
    split = f"{audit['split']}: {number['train_interactions']} train, {parts}"
    return [("log", f"{sizes}{times}"), ("split", split)]


def audit_table(audit: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (label, value) rows for the console; a caller may add `seen_filter`, True or False."""
    figures = {key: value for key, value in audit.items() if key != WARNING}
    return [(LABELS.get(key, key.replace("_", " ")), _text(key, value)) for key, value in figures.items()]


def _text(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3%}" if key in RATES else f"{value:.4g}"
    return str(value)
