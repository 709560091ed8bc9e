"""The batches that training examples come in.

Shapes: P positives of a batch, S impressions behind them, B users or histories (P + S, unless examples
share them), L history positions, K known items, O own candidates.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from twotower.config.memory import usable_bytes
from twotower.data.interactions import Interactions
from twotower.scoring.batch import Batch
from twotower.towers.history.history_encoder import QueryPositions
from twotower.towers.user_batch import UserBatch
from twotower.training.examples import OwnImpressions, examples_of
from twotower.training.history_windows import HistoryWindows, there_are
from twotower.training.order import BlockOrder, Order

if TYPE_CHECKING:
    from twotower.training.objectives.objective import Objective

BYTES_AN_INTERACTION = 12
"""Of a log on the disk; one that takes half the memory is read block by block."""


class TrainBatches:
    """All batches of all epochs, addressed by their number: what makes a resumed training bit-identical.

    An epoch is a permutation seeded by (seed, epoch); a batch is a slice of it and a few gathers. Iterating
    yields what is left of the current epoch.

    Args:
        interactions: the training interactions, memory-mapped or not.
        objective: batch size and weights. A batch holds that many positives and impressions together.
        history_length: L.
        strict: histories hold only items strictly earlier than the positive.
        seed: of the permutations.
        order_of: makes the order from what `Order` takes.
        labelled: impressions are examples of their own, in one permutation with the positives.
        num_query_negatives: O, how many impressions of its user a positive comes with at most; 0 for none.
    """

    def __init__(
        self,
        interactions: Interactions,
        objective: "Objective",
        *,
        history_length: int,
        strict: bool,
        seed: int,
        order_of: Callable[[np.ndarray, int | None, int], Order] = Order,
        labelled: bool = False,
        num_query_negatives: int = 0,
    ) -> None:
        self.interactions = interactions
        self.known_offsets, self.known_items = (
            np.asarray(part) for part in (interactions.examples.offsets, interactions.examples.items)
        )
        self.offsets = np.asarray(interactions.offsets)
        self.batch_size = objective.config.batch_size
        self.history_length = history_length
        weights = objective.example_weights(interactions, labelled)
        num_draws = objective.num_draws(weights)
        if order_of is Order and len(interactions) * BYTES_AN_INTERACTION > usable_bytes() / 2:
            order_of = BlockOrder
        self.order = order_of(weights, num_draws, seed)
        self.weights = weights if num_draws is None else np.ones_like(weights)
        self.examples = examples_of(interactions, strict, labelled)
        self.items, self.times = (
            HistoryWindows(interactions.items, history_length),
            HistoryWindows(interactions.times, history_length),
        )
        self.events = (
            None if interactions.events is None else HistoryWindows(interactions.events, history_length)
        )
        self.query_negatives = (
            OwnImpressions(interactions, num_query_negatives, seed) if num_query_negatives else None
        )
        self.number = 0

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return -(-self.order.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch; a thread gathers the batch to come while one is trained on."""
        epoch, position = divmod(self.number, len(self))
        batch_of = self._epoch(epoch)

        def gathered(place: int) -> Batch:
            return batch_of(place, epoch * len(self) + place)

        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            coming = thread.submit(gathered, position)
            while position < len(self):
                batch = coming.result()
                position += 1
                if position < len(self):
                    coming = thread.submit(gathered, position)
                self.number += 1  # before the yield: a checkpoint taken after this batch counts it, no other
                yield batch

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        """Return what makes a batch of an epoch from its place there and its number."""
        order = self.order.epoch(epoch)

        def batch_of(place: int, number: int) -> Batch:
            chosen = self._positives_first(order[place * self.batch_size : (place + 1) * self.batch_size])
            examples = self.examples
            users, ends = examples.users[chosen], examples.history_end[chosen]
            there = there_are(ends, self.offsets[users], self.history_length)
            return self._batch(chosen, number, ends, there)

        return batch_of

    def num_places(self) -> int:
        """Return how many items the histories of a batch hold at most."""
        return min(self.batch_size, self.order.size) * self.history_length

    def share_without_history(self) -> float:
        """Return the share of the examples that nothing comes before."""
        chosen, examples = self.order.examples, self.examples
        begins = np.asarray(self.interactions.offsets)[examples.users[chosen]]
        return float((examples.history_end[chosen] == begins).mean())

    def examples_between(self, first: int, last: int) -> int:
        """Return how many examples the batches numbered first, ..., last - 1 hold."""
        return self._examples_before(last) - self._examples_before(first)

    def _examples_before(self, number: int) -> int:
        epochs, batches = divmod(number, len(self))
        return epochs * self.order.size + batches * self.batch_size  # an epoch's last batch may be short

    def state_dict(self) -> dict[str, Any]:
        """Return the position, for a checkpoint, and the kind of order: a machine chooses it."""
        return {"number": self.number, "by_blocks": isinstance(self.order, BlockOrder)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's position."""
        self.number = state["number"]
        if type(self.order) in (Order, BlockOrder) and "by_blocks" in state:
            self.order = (BlockOrder if state["by_blocks"] else Order).like(self.order)

    def _positives_first(self, chosen: np.ndarray) -> np.ndarray:
        is_impression = chosen >= self.examples.num_positives
        return (
            np.concatenate([chosen[~is_impression], chosen[is_impression]]) if is_impression.any() else chosen
        )

    def _batch(
        self,
        chosen: np.ndarray,
        number: int,
        ends: np.ndarray,
        there: np.ndarray,
        query_positions: QueryPositions | None = None,
    ) -> Batch:
        """Gather a batch.

        Args:
            chosen: [P + S] examples, positives first.
            number: of the batch.
            ends: [B] before which position of the log each history lies.
            there: [B, L] which of the places before each end are part of it.
            query_positions: see `UserBatch`.
        """
        examples = self.examples
        size = int((chosen < examples.num_positives).sum())
        users, items = examples.users[chosen], examples.items[chosen]
        return Batch(
            UserBatch(
                _int64(users),
                _int32(self.items.before(ends, there)),
                torch.from_numpy(self.times.before(ends, there)),
                torch.from_numpy(examples.times[chosen]),
                None if examples.context is None else _int64(examples.context[chosen]),
                None if self.events is None else _int32(self.events.before(ends, there)),
                query_positions,
            ),
            _int64(items[:size]),
            torch.from_numpy(self.weights[chosen]),
            *self._known(users[:size], items[:size]),
            number,
            _int64(items[size:]),
            None if self.query_negatives is None else _int64(self.query_negatives.draw(users[:size], number)),
        )

    def _known(self, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor]:
        begins, ends = self.known_offsets[users], self.known_offsets[users + 1]
        # Slices laid end to end: a tenth of the time of a place for every item.
        parts = [
            self.known_items[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]
        owners = np.repeat(np.arange(len(users), dtype=np.int32), ends - begins)
        return torch.from_numpy(owners), _int32(np.concatenate([self.known_items[:0], *parts]))


def _int32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int32, copy=False))


def _int64(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64, copy=False))
