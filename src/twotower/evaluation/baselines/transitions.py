"""Directed co-occurrence: items that often follow the user's latest items."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from twotower.config.memory import memory_problem
from twotower.config.spec import Fraction, NonNegativeFloat, PositiveInt
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, TriedValues
from twotower.evaluation.baselines.popularity_baseline import popular_last

BYTES_PER_PAIR = 12
"""A column and two numbers of four bytes: a sparse matrix and its sum with the next one."""


class Transitions(Baseline):
    """Score of j = the sum over the `last` items i of the user of decay^(t - 1) c_ij / c_j^power.

    The item i is t steps back in the history. c_ij sums decay^(s - 1) over users who took j within `steps`
    steps s after i; c_j is the number of interactions of j. Other items follow by popularity. It is the only
    baseline that reads the order of histories. It needs 12 bytes per pair of items within the steps.
    """

    class Config(Baseline.Config):
        suggestion = "history=sasrec objective=sequence"

        steps: PositiveInt = 10
        """Longest distance of two items that are counted."""
        last: PositiveInt = 10
        """Number of latest items of a history that are read."""
        decay: Fraction = 0.8
        """Weight of a pair, for each step between its items."""
        power: NonNegativeFloat = 0.5
        """Scores are divided by the count of the item to this power."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return powers, decays and lengths of the history."""
            return {
                "power": TriedValues((0.0, 0.25, 0.75, 1.0)),
                "decay": TriedValues((0.4, 0.6, 0.9, 1.0)),
                "last": TriedValues((2, 5, 20, 50)),
            }

        def skip_reason(self, past: BaselineData) -> str | None:
            """See `Baseline.Config.skip_reason`."""
            return memory_problem(
                "the pairs of successive items", BYTES_PER_PAIR * self.steps * len(past.train)
            )

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Count the pairs [N, N]."""
        self.fallback = past.fallback
        steps, decay = self.config.steps, self.config.decay
        pairs = past.once("transitions", lambda: count_pairs(past, steps, decay), (steps, decay))
        divisors = np.maximum(past.popularity, 1) ** self.config.power
        self.pairs = (pairs @ scipy.sparse.diags_array(1 / divisors)).astype(np.float32).tocsr()

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the sums over the users' latest items."""
        rows, _ = history.positives.last(users, self.config.last)
        queries, places = np.nonzero(rows)
        steps_back = rows.shape[1] - 1 - places
        weights = (self.config.decay**steps_back).astype(np.float32)
        where = queries, rows[queries, places] - 1
        latest = scipy.sparse.csr_array((weights, where), shape=(len(users), len(self.fallback)))
        return popular_last((latest @ self.pairs).toarray(), self.fallback)


def count_pairs(past: BaselineData, steps: int, decay: float) -> scipy.sparse.csr_array:
    """Return c_ij of `Transitions`, [N, N]."""
    log = past.train.positives
    owners, items = log.user_rows(), np.asarray(log.items, dtype=np.int64) - 1
    shape = (past.num_items, past.num_items)
    pairs = scipy.sparse.csr_array(shape, dtype=np.float32)
    for step in range(1, steps + 1):
        past.budget.check()
        is_pair = (owners[:-step] == owners[step:]) & (items[:-step] >= 0) & (items[step:] >= 0)
        weights = np.full(int(is_pair.sum()), decay ** (step - 1), dtype=np.float32)
        where = items[:-step][is_pair], items[step:][is_pair]
        pairs = pairs + scipy.sparse.csr_array((weights, where), shape=shape)
    return scipy.sparse.csr_array(pairs, shape=shape)
