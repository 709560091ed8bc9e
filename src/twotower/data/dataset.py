"""A data set as the other packages read it: interactions, holdouts and tables, memory-mapped.

Shapes: Q users with targets, T targets.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.blocks import blocks_of_users
from twotower.data.interactions import Interactions
from twotower.data.tables import ITEM_ID
from twotower.data.times import MAX_HORIZON_DAYS, SECONDS_A_DAY
from twotower.data.vocabulary import Vocabulary
from twotower.files.plain_values import fingerprint_values

Audit = dict[str, float | int | str | bool]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Labelled examples [E] of a holdout: positives and impressions without a click, by user, then time."""

    users: np.ndarray  # int32 rows, as `items`
    items: np.ndarray
    labels: np.ndarray  # bool, true for positives
    times: np.ndarray  # int64 unix seconds
    weights: np.ndarray | None = None  # float32; None: all are 1
    context: np.ndarray | None = None  # int32 row of the table of contexts


@dataclass(frozen=True, eq=False)
class Holdout:
    """The targets of a split and the histories from which they are predicted.

    Args:
        users: int32 [Q], user rows with at least one target, ascending.
        target_offsets: int64 [Q + 1]; user `users[q]` has targets target_offsets[q]:target_offsets[q + 1].
        target_items: int32 [T] item rows, distinct by user; without `repeats` not in the history.
        request_times: int64 [Q] unix seconds.
        history: interactions of all users that precede their targets.
        context: int32 [Q] row of the table of contexts, of the user's first target; or None.
        labelled: None unless the data has positives and impressions without a click.
        repeats: whether items of the history can be targets and be recommended.
    """

    users: np.ndarray
    target_offsets: np.ndarray
    target_items: np.ndarray
    request_times: np.ndarray
    history: Interactions
    context: np.ndarray | None = None
    labelled: Labelled | None = None
    repeats: bool = False

    @cached_property
    def is_repeat(self) -> NDArray[np.bool_]:
        """Which targets [T] are in the positive history of their user."""
        history, repeats = self.history.positives, np.zeros(len(self.target_items), dtype=np.bool_)
        lengths = history.counts()[self.users]
        ends = np.concatenate([[0, 0], np.cumsum(lengths)])  # with an empty user row 0
        for rows in blocks_of_users(ends, history.items):
            first, last = np.searchsorted(ends[1:], (rows.start, rows.stop))
            users, items = history.flat(self.users[first:last])
            targets = slice(self.target_offsets[first], self.target_offsets[last])
            target_users = np.repeat(np.arange(last - first), np.diff(self.target_offsets[first : last + 1]))
            target_items = self.target_items[targets]
            width = int(max(items.max(initial=0), target_items.max(initial=0))) + 1
            repeats[targets] = np.isin(target_users * width + target_items, users * width + items)
        return repeats


TARGETS = frozenset({"users", "target_offsets", "target_items", "context", "labelled", "is_repeat"})
"""Attributes of a holdout that `HiddenHoldout` refuses."""


class HiddenHoldout(Holdout):
    """A test split whose histories and request times can be read, for a bundle; targets are an InputError."""

    def __getattribute__(self, name: str) -> Any:
        if name in TARGETS:
            raise InputError("test=hidden: twotower evaluate run=... test=reveal reads the test targets")
        return super().__getattribute__(name)


@dataclass(frozen=True, eq=False)
class RetrievalDataset:
    """A split data set.

    Args:
        user_table: vocabulary row r is at position r - 1; the same for `item_table`.
        item_label: the column of `item_table` with the display name of an item.
        train_and_valid: training interactions of the final fit.
        open_test: opens the test holdout; called by the first use of `test`.
        open_interactions: opens all interactions (also test), for a bundle; None if not stored.
        fingerprint: SHA-256 of all values above except the audit.
        feature_files: `side.feature` -> SHA-256 of the files that a feature reads; see `identity`.
        source_paths: "interactions", "users", "items" -> file or name of the source, for messages.
        repeats: see `Holdout`.
        has_times: whether the data has times; otherwise `times` are positions in an order.
        context_table: distinct contexts of requests, row r at position r - 1; None without context columns.
        events: event types; code c is at position c - 1.
    """

    user_table: pd.DataFrame
    item_table: pd.DataFrame
    item_label: str | None
    users: Vocabulary
    items: Vocabulary
    train: Interactions
    train_and_valid: Interactions
    valid: Holdout
    open_test: Callable[[], Holdout]
    audit: Audit
    fingerprint: str
    source_paths: Mapping[str, str] = field(default_factory=dict)
    has_times: bool = True
    repeats: bool = False
    context_table: pd.DataFrame | None = None
    events: Sequence[str] = ()
    open_interactions: Callable[[], Interactions] | None = None
    feature_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Fingerprint of the data that a model reads: `fingerprint` and the files that features read.

        Runs with equal fingerprints are comparable; only those with equal identities can share a training.
        """
        return data_identity(self.fingerprint, self.feature_files)

    @cached_property
    def horizon_days(self) -> int:
        """Days that targets of the validation split are ahead of their request, at most `MAX_HORIZON_DAYS`.

        The length of its window, rounded up; the maximum if users have different request times, as with
        `split=leave_one_out`.
        """
        requests = self.valid.request_times
        if not self.has_times or not len(requests) or (requests != requests[0]).any():
            return MAX_HORIZON_DAYS
        days = (int(self.train_and_valid.times.max()) - int(requests[0])) / SECONDS_A_DAY
        return min(max(1, math.ceil(days)), MAX_HORIZON_DAYS)

    def item_names(self) -> list[str]:
        """Return the label of each item, or its id without a label; row r is at position r - 1."""
        ids = self.item_table[ITEM_ID].astype("str")
        if self.item_label is None:
            return list(ids)
        labels = self.item_table[self.item_label]
        return list(labels.astype("str").where(labels.notna().to_numpy(), ids))

    def with_hidden_test(self) -> "RetrievalDataset":
        """Return this data set with a test split whose targets cannot be read."""
        return replace(self, open_test=lambda: HiddenHoldout(**vars(self.open_test())))

    @cached_property
    def test(self) -> Holdout:
        """The test targets, predicted from `train_and_valid`; opened on first use."""
        return self.open_test()


def data_identity(fingerprint: str, feature_files: Mapping[str, str]) -> str:
    """Return the fingerprint of data with the files that features read, see `RetrievalDataset.identity`."""
    return fingerprint_values([fingerprint, dict(feature_files)]) if feature_files else fingerprint
