"""Batches of whole sequences: the examples of a stretch of a user's log share one history.

Shapes: n examples, W stretches of the log, B of a batch, P positives of a batch, S shown negatives behind
them, L history positions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.scoring.batch import Batch
from twotower.towers.history.history_encoder import QueryPositions
from twotower.training.batches import TrainBatches

POOL = 16
"""Batches that are sorted by length together: wide enough to save padding, narrow enough to stay random."""


class Stretches(NamedTuple):
    """Stretches of users' logs, in whose positions the histories of all examples end.

    An example whose user had h items before it looks at position h - 1, or where h is 0 at the empty place
    before the first. A user's positions are cut from the end into stretches of L, so that the latest example
    sees all that serving would; the first of an older stretch sees less.

    Attributes:
        of_example: [n], ascending where the examples are.
        ends: [W] the last position of each, counted in the log from 1 (as `Examples.history_end`).
        lengths: [W] positions of each, the empty place among them.
    """

    of_example: NDArray[np.int64]
    ends: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, history_end: np.ndarray, begins: np.ndarray, users: np.ndarray, length: int) -> "Stretches":
        """Cut the log.

        Args:
            history_end: [n] where in the log the history of each example ends.
            begins: [n] where its user's begins.
            users: [n] user rows.
            length: L.
        """
        before = history_end.astype(np.int64) - begins
        most = np.full(int(users.max(initial=0)) + 1, -1, dtype=np.int64)
        np.maximum.at(most, users, before)
        number = most // length + 1  # 0 of a user without examples
        first = np.cumsum(number) - number
        later = (most[users] - before) // length
        of_example = first[users] + number[users] - 1 - later
        ends, lengths = np.zeros(number.sum(), np.int64), np.zeros(number.sum(), np.int64)
        last = most[users] - later * length
        ends[of_example] = begins + last
        lengths[of_example] = np.minimum(last + 1, length)
        return cls(of_example, ends, lengths)


class SequenceBatches(TrainBatches):
    """All batches of all epochs of whole sequences; see `TrainBatches`, whose promises it keeps.

    Every example is there as often as `TrainBatches` would have it. A batch is made of stretches of about
    the same length with about `batch_size` examples together; every epoch has as many batches.

    Args:
        *given: see `TrainBatches`.
        masks_known: no item that a user has is a negative; otherwise only the positive itself is none.
        **how: see `TrainBatches`.
    """

    def __init__(self, *given: Any, masks_known: bool = True, **how: Any) -> None:
        super().__init__(*given, **how)
        self.masks_known = masks_known
        examples, known = self.examples, self.order.examples
        users = examples.users[known]
        begins = self.offsets[users]
        cut = Stretches.of(examples.history_end[known], begins, users, self.history_length)
        by_stretch = np.argsort(cut.of_example, kind="stable")
        self.known, self.of_example = known[by_stretch], cut.of_example[by_stretch]
        self.ends, self.lengths = cut.ends, cut.lengths
        most = int(np.bincount(cut.of_example).max())
        self.num_batches = max(1, self.order.size // max(self.batch_size, most))

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return self.num_batches

    def num_places(self) -> int:
        """Return how many items the histories of a batch hold at most, about."""
        return max(self.batch_size, self.history_length)

    def _examples_before(self, number: int) -> int:
        epochs, batches = divmod(number, len(self))
        return epochs * self.order.size + batches * self.order.size // len(self)

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        is_chosen = np.zeros(len(self.examples.users), dtype=np.bool_)
        is_chosen[self.order.epoch(epoch)[0 : self.order.size]] = True
        here = is_chosen[self.known]
        examples, stretches = self.known[here], self.of_example[here]
        counts = np.bincount(stretches, minlength=len(self.ends))
        starts = np.cumsum(counts) - counts
        rng = np.random.default_rng([self.order.seed, epoch, self.history_length])
        there = rng.permutation(np.flatnonzero(counts))
        pool = self._batch_of(counts[there]) // POOL
        turned = np.where(pool % 2, -1, 1) * self.lengths[there]  # where two pools meet, so do lengths
        there = there[np.lexsort((turned, pool))]
        edges = np.searchsorted(self._batch_of(counts[there]), np.arange(len(self) + 1))
        places = rng.permutation(len(self))

        def batch_of(place: int, number: int) -> Batch:
            place = places[place]
            chosen = there[edges[place] : edges[place + 1]]
            owners = np.repeat(np.arange(len(chosen)), counts[chosen])
            shift = np.repeat(starts[chosen] - np.cumsum(counts[chosen]) + counts[chosen], counts[chosen])
            return self._sequences(chosen, examples[shift + np.arange(len(owners))], owners, number)

        return batch_of

    def _batch_of(self, counts: np.ndarray) -> NDArray[np.int64]:
        """Return into which batch each stretch goes, ascending; none is left empty."""
        before: NDArray[np.int64] = np.cumsum(counts) - counts
        return before * len(self) // int(counts.sum())

    def _known(self, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor]:
        if self.masks_known:
            return super()._known(users, items)
        return torch.arange(len(items), dtype=torch.int32), torch.from_numpy(items.astype(np.int32))

    def _sequences(self, stretches: np.ndarray, chosen: np.ndarray, owners: np.ndarray, number: int) -> Batch:
        """Gather the batch of some stretches [B].

        Args:
            stretches: which.
            chosen: [P + S] their examples, one stretch after the other.
            owners: [P + S] whose each is, of B.
            number: of the batch.
        """
        ends, lengths = self.ends[stretches], self.lengths[stretches]
        begins = self.offsets[self.examples.users[chosen[np.searchsorted(owners, np.arange(len(ends)))]]]
        width = int(lengths.max())
        there = np.arange(width, 0, -1) <= np.minimum(ends - begins, lengths)[:, None]
        times = np.zeros(len(ends), dtype=np.int64)
        np.maximum.at(times, owners, self.examples.times[chosen])
        places = (owners + 1) * width - 1 - (ends[owners] - self.examples.history_end[chosen])
        order = np.arange(len(chosen))
        if (chosen >= self.examples.num_positives).any():
            order = np.argsort(chosen >= self.examples.num_positives, kind="stable")
        queries = QueryPositions(torch.from_numpy(places[order]), torch.from_numpy(times))
        return self._batch(chosen[order], number, ends, there, queries)
