"""The objective of sequences: next-item prediction at every position in one pass over a history.

Shapes: n examples, W segments, B segments of a batch, P positives, S impressions, L history length.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.data.interactions import Interactions, expand_ranges, history_mask
from twotower.model.scoring.batch import Batch, BatchShare
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.training.batches import TrainBatches
from twotower.training.objectives.next_item import NextItem
from twotower.training.order import Order

POOL = 16
"""Number of batches whose segments are sorted by length together, which saves padding."""


class Sequence(NextItem):
    """The examples of `NextItem`; up to L examples share a history and query it at their positions.

    The encoder runs once over L items instead of L times. A user with more than L items is cut into segments;
    the first example of a later segment has a history of one item.

    Reference: Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018, section III.E.
    """

    class Config(NextItem.Config):
        """Settings of `NextItem`; each example occurs once per epoch."""

        recency: Literal["loss"] = "loss"
        """Weights multiply the loss."""
        epoch_examples: None = None
        """Nothing is drawn."""
        shuffle_rows: None = None
        """The segments of an epoch are a permutation."""
        mask_known: bool = True
        """Mask all items of the user, earlier and later, as negatives; false: only the positive is masked."""
        reads_every_position: ClassVar[bool] = True

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse an encoder that summarizes histories at the end only."""
            history: HistoryEncoder.Config | None = context.get("history")
            yield from super().problems(context)
            if history is not None and not history.gives_every_position:
                text = "needs a summary at every position of a history, and this encoder has one at the end"
                yield "", f"{text} only; use history=sasrec, or objective=next_item"

    config: Config

    def batches(self, interactions: Interactions, **settings: Any) -> "SequenceBatches":
        """Build batches of sequences; for `settings` see `TrainBatches`."""
        settings |= self.drawn(interactions, settings)
        return SequenceBatches(interactions, self.config.mask_known, **settings)


class SequenceBatches(TrainBatches):
    """Segments in place of single examples; addressed by number as in `TrainBatches`.

    Every example occurs as often as in `TrainBatches`. The interactions of a user are cut from the end into
    segments of L positions. An example with h earlier items of its user queries position h - 1 of the
    history, or an empty position before the first. So the latest example has the history that serving would
    use; the first examples of an older segment have shorter histories. A batch has segments of similar
    lengths, with about `batch_size` examples; all epochs have the same number of batches.
    """

    def __init__(self, interactions: Interactions, mask_known: bool, **settings: Any) -> None:
        super().__init__(interactions, **settings)
        self.mask_known = mask_known
        assert isinstance(self.order, Order)
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
        counts = np.bincount(segments)
        largest = int(counts.max())
        self.num_batches = max(1, self.order.size // max(self.batch_size, largest))
        self.segments_a_batch = -(-int(np.count_nonzero(counts)) // self.num_batches)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.num_batches

    def num_history_items(self) -> int:
        """Return the approximate maximum number of items in the histories of a batch.

        A segment may have few examples: in a warm start, only new interactions are examples.
        """
        return self.segments_a_batch * int(self.lengths.max())

    def epoch_batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, from the position `first`."""
        is_in_epoch = np.zeros(len(self.examples.items), dtype=np.bool_)
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
        for position in range(first, len(self)):
            chosen = order[edges[batch_order[position]] : edges[batch_order[position] + 1]]
            own = self.share(len(chosen))._replace(size=int(counts[chosen].sum()))
            chosen, number = chosen[own.rows], epoch * len(self) + position
            to_history, rows = expand_ranges(starts[chosen], counts[chosen])
            yield self._gather_segments(chosen, examples[rows], to_history, number, own)

    def _batch_numbers(self, counts: np.ndarray) -> NDArray[np.int64]:
        """Return the batch of each segment, ascending; no batch is empty."""
        before: NDArray[np.int64] = np.cumsum(counts) - counts
        return before * len(self) // int(counts.sum())

    def _known_items(self, users: np.ndarray, items: np.ndarray) -> tuple[Tensor, Tensor]:
        if self.mask_known:
            return super()._known_items(users, items)
        return torch.arange(len(items), dtype=torch.int32), torch.from_numpy(items.astype(np.int32))

    def _gather_segments(
        self, segments: np.ndarray, chosen: np.ndarray, to_history: np.ndarray, number: int, share: BatchShare
    ) -> Batch:
        """Gather the batch of some segments.

        Args:
            chosen: [P + S] their examples, segment by segment.
            to_history: [P + S] position of each example's segment among the B.
            share: of the segments of a batch, with the number of their examples.
        """
        ends, lengths, examples = self.ends[segments], self.lengths[segments], self.examples
        begins = self.offsets[examples.users[chosen[np.searchsorted(to_history, np.arange(len(ends)))]]]
        width = int(lengths.max())
        mask = history_mask(ends, np.maximum(begins, ends - lengths), width)
        request_times = np.zeros(len(ends), dtype=np.int64)
        np.maximum.at(request_times, to_history, examples.times[chosen])
        positions = (to_history + 1) * width - 1 - (ends[to_history] - examples.history_end[chosen])
        order = np.argsort(chosen >= examples.num_positives, kind="stable")
        queries, requests = torch.from_numpy(positions[order]), torch.from_numpy(request_times)
        return self._gather(chosen[order], number, share, ends, mask, queries, requests)
