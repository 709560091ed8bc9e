"""From recommended rows and a holdout to the `Ranking` that metrics read."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twotower.data.dataset import Holdout
from twotower.data.history import History
from twotower.evaluation.seen import contains, pair_keys, seen_pairs
from twotower.metrics.metric import Ranking


@dataclass(frozen=True)
class Targets:
    """The distinct relevant items of Q users.

    Args:
        keys: int64 [T], ascending `pair_keys` of the (user position, item row) pairs.
        num_queries: Q.
        num_items: N.
    """

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

    def take(self, evaluated: np.ndarray) -> Self:
        """Return the targets of the users a mask [Q] keeps, in their new positions."""
        kept = evaluated[self.queries]
        positions = (np.cumsum(evaluated) - 1)[self.queries[kept]]
        keys = pair_keys(positions, self.items[kept], self.num_items)
        return replace(self, keys=keys, num_queries=int(evaluated.sum()))

    def counts(self, among: np.ndarray | None = None) -> NDArray[np.int64]:
        """Return the targets of each user [Q], all of them or only those whose row is marked in `among`."""
        queries = self.queries if among is None else self.queries[among[self.items]]
        return np.bincount(queries, minlength=self.num_queries)


def targets_of(holdout: Holdout, num_items: int, filter_seen: bool) -> Targets:
    """Return what counts as relevant: each target once, unknown items (row 0) never.

    With the seen filter on, a target the user already has counts neither: no list could hold it.
    """
    queries = np.repeat(np.arange(len(holdout.users)), np.diff(holdout.target_offsets))
    known = holdout.target_items > 0
    keys = np.unique(pair_keys(queries[known], holdout.target_items[known], num_items))
    if filter_seen:
        seen = pair_keys(*seen_pairs(holdout.history, holdout.users), num_items)
        keys = np.setdiff1d(keys, seen[contains(keys, seen)])
    return Targets(keys, len(holdout.users), num_items)


def rank(top_rows: np.ndarray, targets: Targets, popularity: np.ndarray) -> Ranking:
    """Return the ranking of recommended rows [Q, K] (0 or -1 = no item) against the targets.

    Args:
        top_rows: distinct item rows of each user, best first.
        targets: the relevant items.
        popularity: int64 [N + 1] train interactions per item row.
    """
    items = np.maximum(top_rows, 0)
    keys = pair_keys(np.arange(targets.num_queries)[:, None], items, targets.num_items)
    return Ranking(items, contains(targets.keys, keys), targets.counts(), targets.num_items, popularity)


def item_popularity(train: History, num_items: int) -> NDArray[np.int64]:
    """Return the train interactions of each item row, int64 [N + 1]; row 0 counts none."""
    counts = np.bincount(train.items, minlength=num_items + 1)
    counts[0] = 0
    return counts
