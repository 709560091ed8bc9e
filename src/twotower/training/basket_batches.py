"""Batches of requests: a user at one moment, and all that this user took from then on.

Shapes: n examples, R requests of an epoch, B of a batch, P positives of a batch.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.data.times import SECONDS_A_DAY
from twotower.scoring.batch import Batch
from twotower.training.batches import TrainBatches
from twotower.training.history_windows import there_are


class BasketBatches(TrainBatches):
    """All batches of all epochs of requests; see `TrainBatches`, whose promises it keeps.

    An epoch asks every user equally often, as far as its size allows. An interaction of the user is drawn in
    proportion to its weight, and asked is at a moment before it, by less than the horizon: so moments lie as
    they do when a calendar's date is chosen, between a user's visits rather than within one.

    Args:
        log: see `TrainBatches`.
        objective: `NextBasket`.
        how: see `TrainBatches`; histories are strictly earlier whatever it says.
    """

    def __init__(self, interactions: Interactions, objective: Any, **how: Any) -> None:
        super().__init__(interactions, objective, **(how | {"strict": True}))
        self.horizon = objective.config.horizon_days * SECONDS_A_DAY
        self.chosen = self.order.examples
        assert self.order.shares is not None
        users = self.examples.users[self.chosen]
        begins = np.flatnonzero(np.diff(users, prepend=-1))
        self.edges = np.append(begins, len(users))
        # Each user's shares sum to 1: what happened a hundred half-lives ago would be lost in a sum over all.
        totals = np.add.reduceat(self.order.shares, begins)
        of_user = self.order.shares / np.repeat(totals, np.diff(self.edges))
        self.reached = np.concatenate([[0.0], np.cumsum(of_user)])
        self.own_weights: NDArray[np.float32] | None = None
        """The weight that the data gives each example, 1 on average."""
        if interactions.weights is not None:
            own = np.asarray(interactions.weights)[self.chosen]
            self.own_weights = own / own.mean()
        # Where a training goes on from another, old interactions weigh less than they would, and so who has
        # nothing new is asked less often.
        weights = objective.example_weights(interactions)[self.chosen].astype(np.float64)
        left = totals / np.add.reduceat(weights, begins)
        self.asked_share = left / left.max()

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        rng = np.random.default_rng([self.order.seed, epoch])
        users = self._asked(rng)
        begins, ends = self.edges[users], self.edges[users + 1]
        low, high = self.reached[begins], self.reached[ends]
        drawn = np.searchsorted(self.reached, low + rng.random(len(users)) * (high - low), side="right") - 1
        asked = self.examples.times[self.chosen[np.clip(drawn, begins, ends - 1)]]
        asked = asked - rng.integers(0, max(1, self.horizon), len(users))

        def batch_of(place: int, number: int) -> Batch:
            part = slice(place * self.batch_size, (place + 1) * self.batch_size)
            return self._requests(begins[part], ends[part], asked[part], number)

        return batch_of

    def _asked(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return whose requests [R] an epoch has, positions among the users with examples."""
        number, rounds, found = len(self.asked_share), [], 0
        while found < self.order.size:
            users = rng.permutation(number)
            # A share of 1 may be rounded below it.
            users = users[rng.random(number) < self.asked_share[users] + 1e-9]
            rounds.append(users)
            found += len(users)
        return np.concatenate(rounds)[: self.order.size]

    def _requests(self, begins: np.ndarray, ends: np.ndarray, asked: np.ndarray, number: int) -> Batch:
        """Gather the batch of some requests.

        Args:
            begins: [B] where among the chosen examples the user's begin.
            ends: [B] where they end.
            asked: [B] unix seconds.
            number: of the batch.
        """
        firsts = self._first_since(asked, begins, ends)
        counts = self._first_since(asked + max(1, self.horizon), firsts, ends) - firsts
        owners = np.repeat(np.arange(len(firsts)), counts)
        shift = np.repeat(firsts - np.cumsum(counts) + counts, counts)
        places = shift + np.arange(len(owners))
        taken, heads = self.chosen[places], self.chosen[firsts]
        until = self.examples.history_end[heads]
        there = there_are(until, self.offsets[self.examples.users[heads]], self.history_length)
        # A long basket counts for more than a short one, and for less than as many users.
        own = np.ones(len(owners)) if self.own_weights is None else self.own_weights[places]
        weights = own * (np.bincount(owners, own, len(firsts)) ** -0.5)[owners]
        batch = self._batch(heads, number, until, there)
        return dataclasses.replace(
            batch,
            users=dataclasses.replace(batch.users, request_times=torch.from_numpy(asked)),
            positives=torch.from_numpy(self.examples.items[taken].astype(np.int64)),
            weights=torch.from_numpy(weights.astype(np.float32)),
            positive_to_user=torch.from_numpy(owners),
        )

    def _first_since(self, times: np.ndarray, low: np.ndarray, high: np.ndarray) -> NDArray[np.int64]:
        """Return the first of the chosen examples between low and high [B] that is no earlier than times."""
        low, high = low.astype(np.int64), high.astype(np.int64)
        while (low < high).any():
            middle = (low + high) // 2
            is_earlier = self.examples.times[self.chosen[np.minimum(middle, len(self.chosen) - 1)]] < times
            is_open = low < high
            low = np.where(is_open & is_earlier, middle + 1, low)
            high = np.where(is_open & ~is_earlier, middle, high)
        return low
