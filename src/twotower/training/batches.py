"""The batches that training examples come in.

Shapes: P examples of a batch, L history positions, K known items.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twotower.data.history import History
from twotower.training.objectives.objective import Objective


@dataclass(frozen=True)
class Batch:
    """Examples: a user, a positive item and what came before it.

    Attributes:
        users: [P] int64 user rows.
        positives: [P] int64 item rows.
        history_rows: [P, L] int64 item rows, right-aligned, 0 = padding.
        history_times: [P, L] int64 unix seconds.
        request_times: [P] int64 unix seconds of the positive.
        weights: [P] float32.
        known_positives: [K] int64, ascending: with
        known_items: [K] int64, every item that the user of a position has in the train log.
        number: of the batch, counted from the start of the training; decides all its random draws.
    """

    users: Tensor
    positives: Tensor
    history_rows: Tensor
    history_times: Tensor
    request_times: Tensor
    weights: Tensor
    known_positives: Tensor
    known_items: Tensor
    number: int

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; Lightning calls it."""
        moved = {
            field.name: getattr(self, field.name).to(device)
            for field in dataclasses.fields(self)
            if field.name != "number"
        }
        return Batch(**moved, number=self.number)


class Order:
    """Which examples an epoch has, and in what order; depends on (seed, epoch) alone.

    Args:
        weights: [n] of the log's interactions; those with 0 are no examples.
        num_draws: see `Objective.num_draws`.
        seed: of all orders.
    """

    def __init__(self, weights: np.ndarray, num_draws: int | None, seed: int) -> None:
        self.seed = seed
        self.examples = np.flatnonzero(weights > 0)
        self.size = len(self.examples) if num_draws is None else num_draws
        self.cumulative: np.ndarray | None = None
        if num_draws is not None:
            drawn = weights[self.examples].astype(np.float64)
            self.cumulative = np.cumsum(drawn) / drawn.sum()

    def epoch(self, number: int) -> np.ndarray:
        """Return positions in the log, [size]."""
        rng = np.random.default_rng([self.seed, number])
        if self.cumulative is None:
            return rng.permutation(self.examples)
        drawn = np.searchsorted(self.cumulative, rng.random(self.size), side="right")
        chosen: np.ndarray = self.examples[np.minimum(drawn, len(self.examples) - 1)]
        return chosen


class TrainBatches:
    """All batches of all epochs, addressed by their number: what makes a resumed training bit-identical.

    An epoch is a permutation seeded by (seed, epoch); a batch is a slice of it and a few gathers. Iterating
    yields what is left of the current epoch.

    Args:
        log: the train log, memory-mapped or not.
        objective: batch size and weights.
        history_length: L.
        strict: histories hold only items strictly earlier than the positive.
        seed: of the permutations.
        order_of: makes the order from what `Order` takes.
    """

    def __init__(
        self,
        log: History,
        objective: Objective,
        *,
        history_length: int,
        strict: bool,
        seed: int,
        order_of: Callable[[np.ndarray, int | None, int], Order] = Order,
    ) -> None:
        self.log = log
        self.batch_size = objective.config.batch_size
        self.history_length = history_length
        weights = objective.weights(log)
        num_draws = objective.num_draws(weights)
        self.order = order_of(weights, num_draws, seed)
        self.weights = weights if num_draws is None else np.ones_like(weights)
        self.user_of = log.user_rows()
        self.history_end = _first_of_equal_times(log, self.user_of) if strict else np.arange(len(log.items))
        self.number = 0

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return -(-self.order.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch."""
        epoch, position = divmod(self.number, len(self))
        order = self.order.epoch(epoch)
        while position < len(self):
            batch = self._gather(order[position * self.batch_size : (position + 1) * self.batch_size])
            position += 1
            self.number += 1  # before the yield: a checkpoint taken after this batch counts it
            yield batch

    def share_without_history(self) -> float:
        """Return the share of the examples that nothing comes before."""
        examples = self.order.examples
        begins = np.asarray(self.log.offsets)[self.user_of[examples]]
        return float((self.history_end[examples] == begins).mean())

    def examples_between(self, first: int, last: int) -> int:
        """Return how many examples the batches numbered first, ..., last - 1 hold."""
        return self._examples_before(last) - self._examples_before(first)

    def _examples_before(self, number: int) -> int:
        epochs, batches = divmod(number, len(self))
        return epochs * self.order.size + batches * self.batch_size  # an epoch's last batch may be short

    def state_dict(self) -> dict[str, Any]:
        """Return the position, for a checkpoint."""
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's position."""
        self.number = state["number"]

    def _gather(self, examples: np.ndarray) -> Batch:
        log = self.log
        users = self.user_of[examples]
        steps = np.arange(-self.history_length, 0)
        positions = self.history_end[examples][:, None] + steps
        there = positions >= log.offsets[users][:, None]
        positions = np.where(there, positions, 0)
        known_positives, known_items = log.flat(users)
        return Batch(
            _int64(users),
            _int64(log.items[examples]),
            _int64(np.where(there, log.items[positions], 0)),
            _int64(np.where(there, log.times[positions], 0)),
            _int64(log.times[examples]),
            torch.from_numpy(self.weights[examples]),
            _int64(known_positives),
            _int64(known_items),
            self.number,
        )


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))


def _first_of_equal_times(log: History, user_of: np.ndarray) -> np.ndarray:
    """Return for every interaction the first position of its user's log with the same timestamp."""
    times = np.asarray(log.times)
    begins = np.ones(len(times), dtype=bool)
    begins[1:] = (times[1:] != times[:-1]) | (user_of[1:] != user_of[:-1])
    first: np.ndarray = np.maximum.accumulate(np.where(begins, np.arange(len(times)), 0))
    return first
