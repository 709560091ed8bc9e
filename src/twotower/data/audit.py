"""What a reader should know of a data set and its split before believing a metric."""

from collections.abc import Mapping

import numpy as np

from twotower.data.dataset import Audit
from twotower.data.history import Log
from twotower.data.holdouts import Windows
from twotower.data.splits.split import NONE, Split
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
    "equal_timestamp_rate": "equal-timestamp rate",
    "future_leak_rate": "future-leak rate",
    "seen_filter": "seen-filter",
}
"""Audit key -> what the console calls it, where that is not the key in words."""

WARNING = "warning"  # key of the audit that has a line of its own elsewhere

RATES = {"density", "equal_timestamp_rate", "future_leak_rate"}


def audit_of(log: Log, windows: Windows, split: Split) -> Audit:
    """Return the audit, in plain values.

    `cold_users` and `cold_items` are distinct users and items of the test targets without a train
    interaction (`valid_...` likewise). `equal_timestamp_rate` is the share of consecutive interactions of a
    user with equal times, whose order only the source decides. `future_leak_rate` is the share of test
    targets that are earlier than some train interaction of anybody.
    """
    train, valid, test = windows.train, windows.valid, windows.test
    same_user = log.users[1:] == log.users[:-1]
    same_time = same_user & (log.times[1:] == log.times[:-1])
    return {
        "split": split.name,
        "interactions": len(log),
        "users": log.num_users,
        "items": log.num_items,
        "density": len(log) / (log.num_users * log.num_items),
        "first_time": date(int(log.times.min())),
        "last_time": date(int(log.times.max())),
        "train_interactions": len(train),
        "valid_interactions": len(valid.target_times),
        "test_interactions": len(test.target_times),
        "valid_users": len(valid.users),
        "test_users": len(test.users),
        "cold_users": int((train.counts()[test.users] == 0).sum()),
        "cold_items": len(np.setdiff1d(test.target_items, train.items)),
        "valid_cold_users": int((train.counts()[valid.users] == 0).sum()),
        "valid_cold_items": len(np.setdiff1d(valid.target_items, train.items)),
        "repeat_targets": valid.num_repeats + test.num_repeats,
        "unused_interactions": int((windows.parts == NONE).sum()),
        "equal_timestamp_rate": float(same_time.sum() / max(int(same_user.sum()), 1)),
        "future_leak_rate": float((train.times.max() > test.target_times).mean()),
        **split.facts(log),
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
