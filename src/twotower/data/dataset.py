"""What every other room reads: logs, holdouts and tables, memory-mapped.

Shapes: Q users with targets, T targets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.blocks import blocks_of_users
from twotower.data.interactions import Interactions
from twotower.data.tables import ITEM_ID
from twotower.data.vocabulary import Vocabulary
from twotower.files.plain_values import fingerprint_of

Audit = dict[str, float | int | str | bool]


@dataclass(frozen=True, eq=False)
class Labelled:
    """All that a window's users were shown, wanted or not: E examples, ordered by user, then time.

    Args:
        users: int32 [E] user rows.
        items: int32 [E] item rows.
        labels: bool [E], true where it was wanted.
        times: int64 [E] unix seconds.
        weights: float32 [E], or None: all count the same.
        context: int32 [E] row of the table of contexts, or None.
    """

    users: np.ndarray
    items: np.ndarray
    labels: np.ndarray
    times: np.ndarray
    weights: np.ndarray | None = None
    context: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Holdout:
    """What is to be predicted, and what is known before.

    Args:
        users: int32 [Q], ascending, the user rows that have at least one target.
        target_offsets: int64 [Q + 1]; user `users[q]` owns targets target_offsets[q]:target_offsets[q + 1].
        target_items: int32 [T] item rows, each once a user; none the user had before, unless `repeats`.
        request_times: int64 [Q] unix seconds at which the recommendation is asked for.
        history: of every user, only what precedes the user's targets.
        context: int32 [Q] row of the table of contexts of each request: the user's first target's; or None.
        labelled: what was wanted and what was shown in vain, where the log says both.
        repeats: whether what a user has may be a target, and so may be recommended.
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
        """Which targets [T] the user has, among the positives of the history."""
        history, known = self.history.positives, np.zeros(len(self.target_items), dtype=np.bool_)
        lengths = history.counts()[self.users]
        ends = np.concatenate([[0, 0], np.cumsum(lengths)])  # as if a user 0 had none, as in a log
        for rows in blocks_of_users(ends, history.items):
            first, last = np.searchsorted(ends[1:], (rows.start, rows.stop))
            users, items = history.flat(self.users[first:last])
            targets = slice(self.target_offsets[first], self.target_offsets[last])
            owners = np.repeat(np.arange(last - first), np.diff(self.target_offsets[first : last + 1]))
            wanted = self.target_items[targets]
            width = int(max(items.max(initial=0), wanted.max(initial=0))) + 1
            known[targets] = np.isin(owners * width + wanted, users * width + items)
        return known


@dataclass(frozen=True, eq=False)
class RetrievalDataset:
    """A split data set.

    Args:
        user_table: row r of the vocabulary = position r - 1.
        item_label: the column of `item_table` that names an item for people.
        train_and_valid: for the final fit.
        valid: predicted from the train log.
        open_test: opens the test holdout; called by the first use of `test` and not before.
        open_whole: opens all that users did, the test window included, for a bundle that is to know it;
            None where it is not kept.
        fingerprint: of all values above but the audit, wherever they come from.
        feature_files: `side.feature` -> SHA-256 of the files that a feature reads; see `identity`.
        source_paths: "interactions", "users", "items" -> file or source name, for messages.
        repeats: whether what a user has may be a target, and so may be recommended.
        has_times: whether the times of its logs are times; otherwise they are places in an order.
        context_table: what requests were made in; row r is position r - 1; None: nothing is known of that.
        events: words of the events; code c is position c - 1.
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
    events: tuple[str, ...] = ()
    open_whole: Callable[[], Interactions] | None = None
    feature_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """All that a model can read: `fingerprint` and the content of the files that features read.

        Runs with equal fingerprints are comparable; only those with equal identities can share a training.
        """
        files = dict(self.feature_files)
        return fingerprint_of([self.fingerprint, files]) if files else self.fingerprint

    def item_names(self) -> list[str]:
        """Return what people call each item, of row r at position r - 1: its label, or its id without one."""
        ids = self.item_table[ITEM_ID].astype("str")
        if self.item_label is None:
            return list(ids)
        labels = self.item_table[self.item_label]
        return list(labels.astype("str").where(labels.notna().to_numpy(), ids))

    @cached_property
    def test(self) -> Holdout:
        """Predicted from train and valid logs; its arrays are opened on first use."""
        return self.open_test()
