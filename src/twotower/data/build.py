"""From a source and a split to a data set, once (later calls open the cache), and what to know of it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.problems import Gathered
from twotower.data.actions import HISTORY, TRAIN, Actions
from twotower.data.blocks import Folder, blocks, blocks_of_users, highest, lowest, seen
from twotower.data.dataset import Audit, RetrievalDataset
from twotower.data.detectable import largest_detectable_difference
from twotower.data.holdouts import Windows, windows_of
from twotower.data.log import Log
from twotower.data.order_checks import oddity_of_rows, oddity_of_ties
from twotower.data.placed import Placed, placed
from twotower.data.placing import placed_files
from twotower.data.sources.source import Source
from twotower.data.splits.split import NONE, Split
from twotower.data.store import open_dataset, write_dataset
from twotower.data.tables import ENTITIES, ITEM_ID, USER_ID, Needs, Tables, no_needs
from twotower.data.times import date
from twotower.files.atomic import publish_folder, replace_folder, temporary_folder
from twotower.files.code import code_fingerprint
from twotower.files.plain_values import fingerprint_of

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
    "detectable_difference": "detectable difference, at most",
}
"""Audit key -> what the console calls it, where that is not the key in words."""
WARNING = "warning"  # key of the audit that has a line of its own elsewhere
RATES = {"density", "equal_timestamp_rate", "future_leak_rate"}


def _audit_of(log: Log, windows: Windows, split: Split, tables: Tables) -> Audit:
    """Return the audit, in plain values.

    `cold_users` and `cold_items` are distinct users and items of the test targets without a train
    interaction (`valid_...` likewise).
    """
    train, valid, test = windows.train, windows.valid, windows.test
    positives, trained = log.positives, seen(train.items, log.num_items + 1)
    return {
        "split": split.name,
        "interactions": len(log),
        "users": log.num_users,
        "items": log.num_items,
        "density": len(positives) / (log.num_users * log.num_items),
        **_span(log, tables),
        "train_interactions": len(train),
        "valid_interactions": len(valid.target_times),
        "test_interactions": len(test.target_times),
        "valid_users": len(valid.users),
        "test_users": len(test.users),
        "detectable_difference": largest_detectable_difference(len(test.users)),
        "cold_users": int((train.counts()[test.users] == 0).sum()),
        "cold_items": int((~trained[np.unique(test.target_items)]).sum()),
        "valid_cold_users": int((train.counts()[valid.users] == 0).sum()),
        "valid_cold_items": int((~trained[np.unique(valid.target_items)]).sum()),
        "repeat_targets": valid.num_repeats + test.num_repeats,
        **({"repeats_kept": int(valid.is_repeat.sum() + test.is_repeat.sum())} if test.repeats else {}),
        "unused_interactions": sum(int((windows.parts[rows] == NONE).sum()) for rows in blocks(len(log))),
        **(_rates_of_times(log, windows) if tables.has_times else {}),
        **({} if split.config.user_share == 1 else {"user_share": split.config.user_share}),
        **split.facts(positives),
    }


def _span(log: Log, tables: Tables) -> Audit:
    """Return the first and the last time; without times what the order is."""
    if not tables.has_times:
        return {"order": "rows" if tables.ordered else "none (drawn)"}
    return {"first_time": date(lowest(log.times)), "last_time": date(highest(log.times))}


def _rates_of_times(log: Log, windows: Windows) -> Audit:
    """Return what times say of the order, and of the split.

    `equal_timestamp_rate` is the share of consecutive interactions of a user with equal times, whose order
    only the source decides. `future_leak_rate` is the share of test targets that are earlier than some train
    interaction of anybody.
    """
    pairs = equal = 0
    for rows in blocks_of_users(log.offsets, log.users, log.times):
        users, times = log.users[rows], log.times[rows]
        same_user = users[1:] == users[:-1]
        pairs += int(same_user.sum())
        equal += int((same_user & (times[1:] == times[:-1])).sum())
    return {
        "equal_timestamp_rate": equal / max(pairs, 1),
        "future_leak_rate": float((highest(windows.train.times) > windows.test.target_times).mean()),
    }


def audit_table(audit: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (label, value) rows for the console; a caller may add `seen_filter`, True or False."""
    shown = {key: value for key, value in audit.items() if key != WARNING}
    return [(LABELS.get(key, key.replace("_", " ")), _shown(key, value)) for key, value in shown.items()]


def _shown(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3%}" if key in RATES else f"{value:.4g}"
    return str(value)


LOG = logging.getLogger("twotower")


def build_dataset(
    source: Source, split: Split, cache_root: Path, anew: bool = False, needs: Needs = no_needs
) -> RetrievalDataset:
    """Load, check, split and store a data set, or open it where that was done before.

    Two processes may build the same one at once. An InputError says what is wrong with the data or the split.
    """
    Gathered("the data", (message for _, message in source.config.problems(Facts()))).raise_if_any()
    content = source.fingerprint()
    final = cache_root / cache_key(source, split, content)
    found = None if anew else open_dataset(final)
    if found is not None:
        told = Gathered("the data")
        frames = {"users": found.user_table, "items": found.item_table, "context": found.context_table}
        for table, frame in frames.items():
            if frame is not None:
                told.messages += needs(table, frame, found.origins.get(table, found.origins["interactions"]))
        told.raise_if_any()
        return found
    if final.exists() and not anew:
        LOG.warning("warning: %s: this stored data set is damaged, and is built again", final)
    with temporary_folder(final) as temporary:
        built = _built(source, split, needs, temporary)
        if source.fingerprint() != content:
            raise InputError(
                f"{built[0].origin('interactions')}: a file of the data changed while it was read; run again "
                "once it is complete"
            )
        fingerprint = write_dataset(temporary, *built)
        ours = publish_folder(temporary, final)
        found = open_dataset(final, is_sound=ours)
        if found is None or (anew and found.fingerprint != fingerprint):  # what was there is broken or old
            temporary.mkdir()
            write_dataset(temporary, *built)
            replace_folder(temporary, final)
            found = open_dataset(final)
    assert found is not None
    return found


def _rows_made(given: Tables, whole: Tables) -> Audit:
    """Return how many users and items of the log their tables lacked, of tables that lacked any."""
    numbers = {
        f"{table}_without_row": len(getattr(whole, table)) - len(getattr(given, table))
        for table in ENTITIES
        if len(getattr(given, table).columns)
    }
    return {key: number for key, number in numbers.items() if number}


def cache_key(source: Source, split: Split, content: str | None = None) -> str:
    """Return the SHA-256 of what makes a data set: the source and its content, the split, and the code.

    `content` is the source's fingerprint, where it is known already.
    """
    code = code_fingerprint([type(source).__module__, type(split).__module__, __name__])
    return fingerprint_of([content or source.fingerprint(), split.config.spec(), code])


def _built(
    source: Source, split: Split, needs: Needs, folder: Path
) -> tuple[Tables, Windows, Audit, pd.DataFrame | None]:
    """Return what is stored; of a log that is read from files by batches, the arrays lie in the folder."""
    repeats, files = source.config.repeats == "keep", source.log_files()
    if files is None:
        found = placed(source, needs)
        return _cut(found, split, windows_of(found.log, split, repeats))
    with temporary_folder(folder.with_name("log")) as scratch:
        found = placed_files(source, files, needs, Folder(folder), Folder(scratch))
        return _cut(found, split, windows_of(found.log, split, repeats, Folder(folder)))


def _cut(found: Placed, split: Split, windows: Windows) -> tuple[Tables, Windows, Audit, pd.DataFrame | None]:
    tables, log = found.tables, found.log
    audit = _audit_of(log, windows, split, tables) | _audit_of_actions(log, windows, tables.actions)
    origin = tables.origin("interactions")
    of_rows = oddity_of_rows(log, origin) if tables.ordered and not tables.has_times else None
    of_ties = oddity_of_ties(windows, origin) if split.by_order and tables.has_times else None
    if oddities := list(filter(None, [found.oddity, _few(log, tables), of_rows, of_ties])):
        audit[WARNING] = "; ".join(oddities)
    return tables, windows, audit | _rows_made(found.given, tables), found.contexts


def _few(log: Log, tables: Tables) -> str | None:
    """Return what to say where all interactions are of one user, or of one item."""
    origin = tables.origin("interactions")
    for number, what, key in ((log.num_users, "user", USER_ID), (log.num_items, "item", ITEM_ID)):
        if number == 1:
            column = tables.file_columns.get(key, key)
            return f"{origin}: there is a single {what}, so nothing can be learned; is {column!r} its column?"
    return None


def _audit_of_actions(log: Log, windows: Windows, actions: Actions) -> Audit:
    """Return what the audit says of labels, events, weights and contexts, where there are any."""
    audit: Audit = {}
    if actions.num_ignored:
        audit["ignored_interactions"] = actions.num_ignored
    if log.roles is not None:
        audit["positive_interactions"] = int(log.is_positive.sum())
        audit["shown_negatives"] = int(log.is_shown.sum())
        audit["history_only"] = int((log.roles == HISTORY).sum())
        if train_only := int((log.roles == TRAIN).sum()):
            audit["train_only"] = train_only
        if log.is_shown.any():
            for name, window in {"valid": windows.valid, "test": windows.test}.items():
                audit[f"{name}_labelled"] = 0 if window.labelled is None else len(window.labelled.labels)
    if log.events is not None:
        counts = np.bincount(log.events, minlength=len(actions.words) + 1)
        audit |= {
            f"event_{word}": int(counts[code]) for code, word in enumerate(actions.words, 1) if counts[code]
        }
    if log.weights is not None:
        audit["zero_weights"] = int((log.weights == 0).sum())
        audit["mean_weight"] = float(log.weights.mean())
    if log.context is not None:
        audit["contexts"] = int(log.context.max())
    return audit
