"""Batches of training examples.

Shapes: P positives of a batch, S impressions without a click, B users or histories (P + S, unless examples
share histories), L history length, K known items, n interactions, m impressions without a click.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions, history_mask, time_order, values_before
from twotower.model.scoring.batch import Batch, BatchShare
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.user_batch import UserBatch
from twotower.training.order import BlockOrder, Order, position_type

SAMPLE = 100_000
"""Number of examples by which the share without a history is estimated."""


class TrainBatches:
    """All batches of all epochs, addressed by their number, so that a resumed training is bit-identical.

    An epoch is an order seeded by (seed, epoch); a batch is a slice of it, or a share of the slice.
    Iterating yields the rest of the current epoch.

    Args:
        interactions: the training interactions, may be memory-mapped.
        batch_size: positives and impressions together.
        weights: [n + m] of the examples, 0 = none; None with `shuffle_rows`: all have the weight 1.
        num_draws: examples that an epoch draws by their weights, with replacement; None: each occurs once.
        history: length of the histories, and whether they hold strictly earlier items only.
        build_order: builds the order of the examples; see `Order`.
        share: returns the rows of a batch that are computed here; by default all.
        with_impressions: impressions without a click are examples, in one permutation with the positives.
        shuffle_rows: shuffle an epoch in a buffer of so many examples, see `BlockOrder`, and compute the
            examples of a batch only. None: a permutation, and arrays of all examples.

    Raises:
        InputError: with `shuffle_rows`, the examples have weights or some are new.
    """

    def __init__(
        self,
        interactions: Interactions,
        batch_size: int,
        weights: np.ndarray | None,
        num_draws: int | None = None,
        *,
        history: HistoryEncoder.Config,
        seed: int,
        build_order: Callable[[np.ndarray, int | None, int], Order] = Order,
        share: Callable[[int], BatchShare] = BatchShare.full_batch,
        with_impressions: bool = False,
        shuffle_rows: int | None = None,
    ) -> None:
        self.interactions = interactions
        self.known_offsets = np.asarray(interactions.examples.offsets)
        self.known_items = np.asarray(interactions.examples.items)
        self.offsets = np.asarray(interactions.offsets)
        self.batch_size, self.share = batch_size, share
        self.history_length = history.length
        self.order: Order | BlockOrder
        ones = np.broadcast_to(np.float32(1), len(interactions if weights is None else weights))  # no memory
        if shuffle_rows is None:
            assert weights is not None
            self.order = build_order(weights, num_draws, seed)
            self.weights = weights if num_draws is None else ones  # the draws follow the weights
            self.examples = build_examples(interactions, history.strict, with_impressions)
        else:
            if interactions.example_weights is not None or with_impressions or build_order is not Order:
                raise InputError(
                    "objective.shuffle_rows: shuffles a first training on interactions that are all examples "
                    "of weight 1; for warm starts and other data set objective.shuffle_rows=null"
                )
            self.order = BlockOrder(len(interactions), shuffle_rows, seed)
            self.examples = lazy_examples(interactions, history.strict)
            self.weights = ones
        # Plain views are faster than memory maps.
        self.items, self.times = np.asarray(interactions.items), np.asarray(interactions.times)
        self.events = None if interactions.events is None else np.asarray(interactions.events)
        self.number = 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-self.order.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch; a thread gathers the next batch during a training step."""
        batches = self.epoch_batches(*divmod(self.number, len(self)))
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            following = thread.submit(next, batches, None)
            while (batch := following.result()) is not None:
                self.number += 1  # before the yield, so that a checkpoint after this batch counts it
                following = thread.submit(next, batches, None)
                yield batch

    def epoch_batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, from the position `first`."""
        order = self.order.epoch(epoch)
        for position in range(first, len(self)):
            chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
            own = self.share(len(chosen))
            chosen = chosen[own.rows]
            chosen = chosen[np.argsort(chosen >= self.examples.num_positives, kind="stable")]
            yield self._gather(chosen, epoch * len(self) + position, own)

    def num_history_items(self) -> int:
        """Return the maximum number of items in the histories of a batch."""
        return min(self.batch_size, self.order.size) * self.history_length

    @property
    def empty_history_remedy(self) -> str:
        """Remedy in the warning about examples without a history."""
        return "users have one interaction, or equal times; for the latter set history.strict=false"

    def share_without_history(self) -> float:
        """Return the share of the examples of an epoch with an empty history; of many, it is estimated."""
        chosen = self.order.epoch(0)[0:SAMPLE]
        begins = self.offsets[self.examples.users[chosen]]
        return float((self.examples.history_end[chosen] == begins).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position of a checkpoint."""
        self.number = state["number"]

    def _gather(
        self,
        chosen: np.ndarray,
        number: int,
        share: BatchShare,
        ends: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        query_positions: Tensor | None = None,
        latest_requests: Tensor | None = None,
    ) -> Batch:
        """Gather a batch.

        Args:
            chosen: [P + S] examples, positives first.
            share: the rows of the batch that `chosen` holds.
            ends: [B] positions in the interactions at which the histories end; None: of the examples.
            mask: [B, L] which positions before each end are part of the history; None: all of the user.
            query_positions: see `UserBatch`, with `latest_requests`.
        """
        examples = self.examples
        size = int((chosen < examples.num_positives).sum())
        users, items = examples.users[chosen], examples.items[chosen]
        ends = examples.history_end[chosen] if ends is None else ends
        mask = history_mask(ends, self.offsets[users], self.history_length) if mask is None else mask
        return Batch(
            UserBatch(
                _int64(users),
                _int32(values_before(self.items, ends, mask)),
                torch.from_numpy(values_before(self.times, ends, mask)),
                torch.from_numpy(examples.times[chosen]),
                None if examples.context is None else _int64(examples.context[chosen]),
                None if self.events is None else _int32(values_before(self.events, ends, mask)),
                query_positions,
                latest_requests,
            ),
            _int64(items[:size]),
            torch.from_numpy(self.weights[chosen] * np.float32(share.weight)),
            *self._known_items(users[:size], items[:size]),
            number,
            _int64(items[size:]),
            num_rows=share.size,
        )

    def _known_items(self, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the items of the users [P] as pairs (position among the users, item row), [K] and [K]."""
        begins, ends = self.known_offsets[users], self.known_offsets[users + 1]
        # Concatenated slices take a tenth of the time of one position per item.
        parts = [
            self.known_items[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
        positives = np.repeat(np.arange(len(users), dtype=np.int32), ends - begins)
        return torch.from_numpy(positives), _int32(np.concatenate([self.known_items[:0], *parts]))


def _int32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int32, copy=False))


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64, copy=False))


class LazyColumn:
    """A column of examples that is computed batch by batch, not for all examples.

    Args:
        compute: returns the values at positions [P] of examples.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        self.compute = compute

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return the values at positions [P]."""
        return self.compute(positions)


@dataclass(frozen=True, eq=False)
class Examples:
    """The interactions [n], followed by the impressions without a click [m] if these are examples.

    Attributes:
        users: int32 user rows.
        items: int32 item rows.
        times: int64 unix seconds.
        history_end: int32 (int64 for large logs) position in the interactions at which each history ends.
        context: int32 rows of the context table, or None.
        num_positives: n.
    """

    users: np.ndarray | LazyColumn
    items: np.ndarray
    times: np.ndarray
    history_end: np.ndarray | LazyColumn
    context: np.ndarray | None
    num_positives: int


def build_examples(interactions: Interactions, strict: bool, with_impressions: bool) -> Examples:
    """Build the examples.

    Args:
        strict: the history of a positive has only strictly earlier items; an impression's always has.
        with_impressions: impressions without a click are examples.
    """
    users, impressions = interactions.user_rows(), interactions.impressions
    items, times = np.asarray(interactions.items), np.asarray(interactions.times)
    context = None if interactions.context is None else np.asarray(interactions.context)
    ends = np.arange(len(times), dtype=position_type(len(times)))
    if strict:  # the first position with the same user and time
        is_first = np.ones(len(times), dtype=bool)
        is_first[1:] = (times[1:] != times[:-1]) | (users[1:] != users[:-1])
        ends[~is_first] = 0
        ends = np.maximum.accumulate(ends, out=ends)
    if not with_impressions or impressions is None:
        return Examples(users, items, times, ends, context, len(interactions))
    order = time_order(impressions, interactions)  # an impression precedes interactions of the same second
    is_interaction = order >= len(impressions)
    impression_ends = np.empty(len(impressions), dtype=np.int64)
    impression_ends[order[~is_interaction]] = np.cumsum(is_interaction)[~is_interaction]
    if context is not None:
        context = None if impressions.context is None else np.concatenate([context, impressions.context])
    return Examples(
        np.concatenate([users, impressions.user_rows()]),
        np.concatenate([items, impressions.items]),
        np.concatenate([times, impressions.times]),
        np.concatenate([ends, impression_ends]),
        context,
        len(interactions),
    )


def lazy_examples(interactions: Interactions, strict: bool) -> Examples:
    """Return what `build_examples` returns, without an array of the length of the interactions in memory."""
    offsets, times = np.asarray(interactions.offsets), np.asarray(interactions.times)
    items = np.asarray(interactions.items)
    context = None if interactions.context is None else np.asarray(interactions.context)
    users = LazyColumn(lambda rows: (np.searchsorted(offsets, rows, side="right") - 1).astype(np.int32))

    def strict_ends(rows: np.ndarray) -> np.ndarray:
        """Return the first position with the same user and time."""
        return first_since(times, times[rows], offsets[users[rows]], rows)

    ends = LazyColumn(strict_ends if strict else lambda rows: rows)
    return Examples(users, items, times, ends, context, len(interactions))


def first_since(
    column: np.ndarray | LazyColumn, times: np.ndarray, low: np.ndarray, high: np.ndarray
) -> NDArray[np.int64]:
    """Bisect for the first position from low to high [P] that is not earlier than times [P].

    Args:
        column: times; those from low to high ascend.
    """
    low, high = low.astype(np.int64), high.astype(np.int64)
    while len(left := np.flatnonzero(low < high)):
        middle = (low[left] + high[left]) // 2
        is_earlier = column[middle] < times[left]
        low[left[is_earlier]] = middle[is_earlier] + 1
        high[left[~is_earlier]] = middle[~is_earlier]
    return low
