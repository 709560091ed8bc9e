"""From recommended rows and a holdout to the `Ranking` that metrics read, without what users already have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.history import History
from twotower.evaluation.top_k import Pairs
from twotower.index.exact import contains
from twotower.metrics.metric import Ranking


@dataclass(frozen=True)
class Targets:
    """The distinct relevant items of Q users: `keys` int64 [T] are ascending `pair_keys`."""

    keys: NDArray[np.int64]
    num_queries: int
    num_items: int

    @property
    def queries(self) -> NDArray[np.int64]:
        """Return the user position of each target [T]."""
        return self.keys // (self.num_items + 1)

    @property
    def items(self) -> NDArray[np.int64]:
        """Return the item row of each target [T]."""
        return self.keys % (self.num_items + 1)

    def counts(self, among: np.ndarray | None = None) -> NDArray[np.int64]:
        """Return the targets of each user [Q], all of them or only those whose row is marked in `among`."""
        queries = self.queries if among is None else self.queries[among[self.items]]
        return np.bincount(queries, minlength=self.num_queries)


def targets_of(holdout: Holdout, num_items: int) -> Targets:
    """Return what counts as relevant, each target once."""
    queries = np.repeat(np.arange(len(holdout.users)), np.diff(holdout.target_offsets))
    keys = np.unique(pair_keys(queries, np.asarray(holdout.target_items), num_items))
    return Targets(keys, len(holdout.users), num_items)


def rank(top_rows: np.ndarray, targets: Targets, popularity: np.ndarray) -> Ranking:
    """Return the ranking of recommended rows [Q, K] (0 or -1 = no item) against the targets."""
    items = np.maximum(top_rows, 0)
    keys = pair_keys(np.arange(targets.num_queries)[:, None], items, targets.num_items)
    return Ranking(items, contains(targets.keys, keys), targets.counts(), targets.num_items, popularity)


def item_popularity(train: History, num_items: int) -> NDArray[np.int64]:
    """Return the train interactions of each item row, int64 [N + 1]; row 0 counts none."""
    counts = np.bincount(train.items, minlength=num_items + 1)
    counts[0] = 0
    return counts


def seen_pairs(history: History, users: np.ndarray) -> Pairs:
    """Return (position in `users`, item row) of everything these users have in their history.

    Positions ascend; an item a user had twice appears twice.
    """
    positions, rows = history.flat(users)
    known = rows > 0
    return positions[known].astype(np.int64), rows[known].astype(np.int64)


def without_seen(rows: np.ndarray, exclude: Pairs, num_items: int, k: int) -> NDArray[np.int64]:
    """Return the first k allowed items, int64 [Q, k], of longer lists as an approximate index gives them.

    Item rows [Q, M] are best first, 0 or -1 = no item; M should exceed k by the items excluded.
    """
    listed = np.maximum(rows, 0).astype(np.int64)
    queries = np.arange(len(listed), dtype=np.int64)[:, None]
    dropped = contains(np.sort(pair_keys(*exclude, num_items)), pair_keys(queries, listed, num_items))
    listed[dropped] = 0
    order = np.argsort(listed == 0, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(listed, order, axis=1)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])))


def pair_keys(queries: np.ndarray, rows: np.ndarray, num_items: int) -> NDArray[np.int64]:
    """Return one integer per (user position, item row), ordered by user and then by row."""
    keys: NDArray[np.int64] = queries.astype(np.int64) * (num_items + 1) + rows
    return keys
