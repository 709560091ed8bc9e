"""Batches of sequences: the examples in a segment of a user's interactions share one history.

Shapes: n examples, W segments, B segments of a batch, P positives, S impressions, L history length.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.scoring.batch import Batch
from twotower.training.batches import TrainBatches

POOL = 16
"""Number of batches whose segments are sorted by length together, which saves padding."""


class SequenceBatches(TrainBatches):
    """Segments in place of single examples; addressed by number as in `TrainBatches`.

    Every example occurs as often as in `TrainBatches`. The interactions of a user are cut from the end into
    segments of L positions. An example with h earlier items of its user queries position h - 1 of the
    history, or an empty position before the first. So the latest example has the history that serving would
    use; the first examples of an older segment have shorter histories. A batch has segments of similar
    lengths, with about `batch_size` examples; all epochs have the same number of batches.

    Args:
        mask_known: mask all items of the user as negatives; otherwise only the positive itself.
    """

    def __init__(self, *arguments: Any, mask_known: bool = True, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.mask_known = mask_known
        examples, chosen, length = self.examples, self.order.examples, self.history_length
        users = examples.users[chosen]
        begins = self.offsets[users]
        num_earlier = examples.history_end[chosen].astype(np.int64) - begins
        most = np.full(int(users.max(initial=0)) + 1, -1, dtype=np.int64)  # -1: no examples
        np.maximum.at(most, users, num_earlier)
        num_segments = most // length + 1
        first_segments = np.cumsum(num_segments) - num_segments
        num_later = (most[users] - num_earlier) // length
        segments = first_segments[users] + num_segments[users] - 1 - num_later
        last = most[users] - num_later * length
        self.ends, self.lengths = np.zeros((2, num_segments.sum()), dtype=np.int64)
        """Of each segment: last position in the interactions, counted from 1 (as `Examples.history_end`), and
        number of positions, with the empty one [W]."""
        self.ends[segments] = begins + last
        self.lengths[segments] = np.minimum(last + 1, length)
        order = np.argsort(segments, kind="stable")
        self.chosen, self.segments = chosen[order], segments[order]
        largest = int(np.bincount(segments).max())
        self.num_batches = max(1, self.order.size // max(self.batch_size, largest))

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.num_batches

    def num_history_items(self) -> int:
        """Return the approximate maximum number of items in the histories of a batch."""
        return max(self.batch_size, self.history_length)

    def _epoch(self, epoch: int) -> Callable[[int, int], Batch]:
        is_in_epoch = np.zeros(len(self.examples.users), dtype=np.bool_)
        is_in_epoch[self.order.epoch(epoch)[0 : self.order.size]] = True
        is_in_epoch = is_in_epoch[self.chosen]
        examples, segments = self.chosen[is_in_epoch], self.segments[is_in_epoch]
        counts = np.bincount(segments, minlength=len(self.ends))
        starts = np.cumsum(counts) - counts
        rng = np.random.default_rng([self.order.seed, epoch, self.history_length])
        order = rng.permutation(np.flatnonzero(counts))
        pool = self._batch_numbers(counts[order]) // POOL
        # Ascending and descending in turn, so that lengths are similar at the border of two pools.
        signed_lengths = np.where(pool % 2, -1, 1) * self.lengths[order]
        order = order[np.lexsort((signed_lengths, pool))]
        edges = np.searchsorted(self._batch_numbers(counts[order]), np.arange(len(self) + 1))
        batch_order = rng.permutation(len(self))

        def gather(position: int, number: int) -> Batch:
            position = batch_order[position]
            chosen = order[edges[position] : edges[position + 1]]
            to_history = np.repeat(np.arange(len(chosen)), counts[chosen])
            shift = np.repeat(starts[chosen] - np.cumsum(counts[chosen]) + counts[chosen], counts[chosen])
            return self._gather_segments(
                chosen, examples[shift + np.arange(len(to_history))], to_history, number
            )

        return gather

    def _batch_numbers(self, counts: np.ndarray) -> NDArray[np.int64]:
        """Return the batch of each segment, ascending; no batch is empty."""
        before: NDArray[np.int64] = np.cumsum(counts) - counts
        return before * len(self) // int(counts.sum())

    def _known_items(self, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor]:
        if self.mask_known:
            return super()._known_items(users, items)
        return torch.arange(len(items), dtype=torch.int32), torch.from_numpy(items.astype(np.int32))

    def _gather_segments(
        self, segments: np.ndarray, chosen: np.ndarray, to_history: np.ndarray, number: int
    ) -> Batch:
        """Gather the batch of some segments.

        Args:
            chosen: [P + S] their examples, segment by segment.
            to_history: [P + S] position of each example's segment among the B.
        """
        ends, lengths, examples = self.ends[segments], self.lengths[segments], self.examples
        begins = self.offsets[examples.users[chosen[np.searchsorted(to_history, np.arange(len(ends)))]]]
        width = int(lengths.max())
        mask = np.arange(width, 0, -1) <= np.minimum(ends - begins, lengths)[:, None]
        request_times = np.zeros(len(ends), dtype=np.int64)
        np.maximum.at(request_times, to_history, examples.times[chosen])
        positions = (to_history + 1) * width - 1 - (ends[to_history] - examples.history_end[chosen])
        order = np.argsort(chosen >= examples.num_positives, kind="stable")
        queries, requests = torch.from_numpy(positions[order]), torch.from_numpy(request_times)
        return self._gather(chosen[order], number, ends, mask, queries, requests)
