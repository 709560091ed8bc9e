"""Batches of requests: a user at one moment, and all that this user took from then on.

Shapes: n examples, M moments, B requests of a batch, P positives of a batch.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.history import History
from twotower.training.batches import Batch, TrainBatches
from twotower.training.windows import there_are

SECONDS_A_DAY = 86_400


class BasketBatches(TrainBatches):
    """All batches of all epochs of requests; see `TrainBatches`, whose promises it keeps.

    An epoch asks every user equally often, as far as its size allows, each time at a moment drawn in
    proportion to the weights of what was taken then.

    Args:
        log: see `TrainBatches`.
        objective: `NextBasket`.
        how: see `TrainBatches`; histories are strictly earlier whatever it says.
    """

    def __init__(self, log: History, objective: Any, **how: Any) -> None:
        if how.get("num_own") or how.get("labelled"):
            raise InputError(
                "objective: next_basket does not learn from shown negatives; use objective=next_item, or "
                "negatives=catalogue"
            )
        super().__init__(log, objective, **(how | {"strict": True}))
        chosen = self.order.examples
        ends, self.users_of = self.examples.history_end[chosen], self.examples.users[chosen]
        self.firsts = np.flatnonzero(np.diff(ends.astype(np.int64), prepend=-1))
        times = self.examples.times[chosen]
        self.stops = _stops(self.users_of, times, self.firsts, objective.config.horizon_days * SECONDS_A_DAY)
        weights = objective.example_weights(log)[chosen].astype(np.float64)
        self.reached = np.concatenate([[0.0], np.cumsum(np.add.reduceat(weights, self.firsts))])
        asked = self.users_of[self.firsts]
        self.users_asked, begins = np.unique(asked, return_index=True)
        self.moments = np.append(begins, len(asked))

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        rng = np.random.default_rng([self.order.seed, epoch])
        number = len(self.users_asked)
        rounds = -(-self.order.size // number)
        users = np.concatenate([rng.permutation(number) for _ in range(rounds)])[: self.order.size]
        low, high = self.reached[self.moments[users]], self.reached[self.moments[users + 1]]
        drawn = np.searchsorted(self.reached, low + rng.random(len(users)) * (high - low), side="right") - 1
        drawn = np.clip(drawn, self.moments[users], self.moments[users + 1] - 1)

        def batch_of(place: int, number: int) -> Batch:
            return self._requests(drawn[place * self.batch_size : (place + 1) * self.batch_size], number)

        return batch_of

    def _requests(self, moments: np.ndarray, number: int) -> Batch:
        """Gather the batch of some moments [B]."""
        firsts, counts = self.firsts[moments], self.stops[moments] - self.firsts[moments]
        owners = np.repeat(np.arange(len(moments)), counts)
        shift = np.repeat(firsts - np.cumsum(counts) + counts, counts)
        taken = self.order.examples[shift + np.arange(len(owners))]
        heads = self.order.examples[firsts]
        ends = self.examples.history_end[heads]
        begins = self.offsets[self.examples.users[heads]]
        batch = self._batch(heads, number, ends, there_are(ends, begins, self.history_length))
        # A long basket counts for more than a short one, and for less than as many users.
        weights = (counts**-0.5)[owners].astype(np.float32)
        return dataclasses.replace(
            batch,
            positives=torch.from_numpy(self.examples.items[taken].astype(np.int64)),
            weights=torch.from_numpy(weights),
            owners=torch.from_numpy(owners),
        )


def _stops(users: np.ndarray, times: np.ndarray, firsts: np.ndarray, horizon: int) -> NDArray[np.int64]:
    """Return where what is taken within a horizon after each moment [M] ends, among examples [n]."""
    times = times - times.min(initial=0)
    width = int(times.max(initial=0)) + horizon + 1
    keys = users.astype(np.int64) * width + times
    stops: NDArray[np.int64] = np.searchsorted(keys, keys[firsts] + horizon, side="right")
    # A horizon that reaches beyond the log's end reaches into the next user's.
    last = np.searchsorted(users, users[firsts], side="right")
    reached: NDArray[np.int64] = np.minimum(stops, last)
    return reached
