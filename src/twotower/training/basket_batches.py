"""Batches of requests: a user at one time, with all items that the user interacts with from then on.

Shapes: n examples, R requests of an epoch, B requests of a batch, P positives of a batch.
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
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.batches import TrainBatches, history_mask


class BasketBatches(TrainBatches):
    """Requests in place of single examples; addressed by number as in `TrainBatches`.

    An epoch has equally many requests of every user, as far as its size allows. The request time is drawn in
    two steps: an interaction of the user, in proportion to its weight, then a time before it by less than the
    horizon. So request times are distributed like dates of a calendar: most are between two visits of a user.

    Args:
        history: see `TrainBatches`; histories are always strictly earlier.
    """

    def __init__(
        self, interactions: Interactions, objective: Any, history: HistoryEncoder.Config, **settings: Any
    ) -> None:
        strict = history.model_copy(update={"strict": True})
        super().__init__(interactions, objective, history=strict, **settings)
        self.horizon = objective.config.horizon_days * SECONDS_A_DAY
        self.chosen = self.order.examples
        assert self.order.shares is not None
        users = self.examples.users[self.chosen]
        begins = np.flatnonzero(np.diff(users, prepend=-1))
        self.edges = np.append(begins, len(users))
        # The shares of each user sum to 1: in a sum over all users, very old interactions would round to 0.
        totals = np.add.reduceat(self.order.shares, begins)
        user_shares = self.order.shares / np.repeat(totals, np.diff(self.edges))
        self.cumulative_shares = np.concatenate([[0.0], np.cumsum(user_shares)])
        self.example_weights: NDArray[np.float32] | None = None
        """The weight of each example in the data, 1 on average."""
        if interactions.weights is not None:
            example_weights = np.asarray(interactions.weights)[self.chosen]
            self.example_weights = example_weights / example_weights.mean()
        # A warm start replays a share of old interactions, so users without new ones have fewer requests.
        weights = objective.example_weights(interactions)[self.chosen].astype(np.float64)
        replayed = totals / np.add.reduceat(weights, begins)
        self.request_rates = replayed / replayed.max()

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        rng = np.random.default_rng([self.order.seed, epoch])
        users = self._draw_users(rng)
        begins, ends = self.edges[users], self.edges[users + 1]
        low, high = self.cumulative_shares[begins], self.cumulative_shares[ends]
        points = low + rng.random(len(users)) * (high - low)
        drawn = np.searchsorted(self.cumulative_shares, points, side="right") - 1
        interaction_times = self.examples.times[self.chosen[np.clip(drawn, begins, ends - 1)]]
        request_times = interaction_times - rng.integers(0, max(1, self.horizon), len(users))

        def gather(position: int, number: int) -> Batch:
            part = slice(position * self.batch_size, (position + 1) * self.batch_size)
            return self._gather_requests(begins[part], ends[part], request_times[part], number)

        return gather

    def _draw_users(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the user of each request [R], as positions among the users with examples."""
        num_users, rounds, num_requests = len(self.request_rates), [], 0
        while num_requests < self.order.size:
            users = rng.permutation(num_users)
            # The margin is for rates of 1 that were rounded down.
            users = users[rng.random(num_users) < self.request_rates[users] + 1e-9]
            rounds.append(users)
            num_requests += len(users)
        return np.concatenate(rounds)[: self.order.size]

    def _gather_requests(
        self, begins: np.ndarray, ends: np.ndarray, request_times: np.ndarray, number: int
    ) -> Batch:
        """Gather the batch of some requests.

        Args:
            begins: [B] first position of the user among the chosen examples.
            ends: [B] position after the last.
            request_times: [B] unix seconds.
        """
        firsts = self._first_since(request_times, begins, ends)
        counts = self._first_since(request_times + max(1, self.horizon), firsts, ends) - firsts
        positive_to_user = np.repeat(np.arange(len(firsts)), counts)
        shift = np.repeat(firsts - np.cumsum(counts) + counts, counts)
        positions = shift + np.arange(len(positive_to_user))
        positives, heads = self.chosen[positions], self.chosen[firsts]
        history_ends = self.examples.history_end[heads]
        mask = history_mask(history_ends, self.offsets[self.examples.users[heads]], self.history_length)
        # The weight of a basket grows with the root of its length.
        weights = (
            np.ones(len(positive_to_user))
            if self.example_weights is None
            else self.example_weights[positions]
        )
        weights = weights * (np.bincount(positive_to_user, weights, len(firsts)) ** -0.5)[positive_to_user]
        batch = self._gather(heads, number, history_ends, mask)
        return dataclasses.replace(
            batch,
            users=dataclasses.replace(batch.users, request_times=torch.from_numpy(request_times)),
            positives=torch.from_numpy(self.examples.items[positives].astype(np.int64)),
            weights=torch.from_numpy(weights.astype(np.float32)),
            positive_to_user=torch.from_numpy(positive_to_user),
        )

    def _first_since(self, times: np.ndarray, low: np.ndarray, high: np.ndarray) -> NDArray[np.int64]:
        """Bisect for the first chosen example from low to high [B] that is not earlier than times [B]."""
        low, high = low.astype(np.int64), high.astype(np.int64)
        while (low < high).any():
            middle = (low + high) // 2
            is_earlier = self.examples.times[self.chosen[np.minimum(middle, len(self.chosen) - 1)]] < times
            is_open = low < high
            low = np.where(is_open & is_earlier, middle + 1, low)
            high = np.where(is_open & ~is_earlier, middle, high)
        return low
