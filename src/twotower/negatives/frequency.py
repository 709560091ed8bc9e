"""The probability that an item is the positive of an example, counted or estimated during training."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Frequency(nn.Module, ABC):
    """The probability that the positive of an example is an item."""

    @abstractmethod
    def probability(self, rows: Tensor) -> Tensor:
        """Return the probability of each row [R]."""

    def observe(self, positives: Tensor) -> None:
        """Receive the positives of a training batch."""


class Empirical(Frequency):
    """The share of the item among the positives of the training examples."""

    frequencies: Tensor

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def probability(self, rows: Tensor) -> Tensor:
        """Return the shares."""
        return self.frequencies[rows]


class Streaming(Frequency):
    """hits / gap / batch size, moving averages of the item's count in its batches and of the batches between.

    The published estimator counts at most one occurrence per batch, which underestimates popular items; the
    average of the count corrects it.

    Args:
        num_items: N.
        rate: update rate of both averages.
        expected_gap: initial number of batches between two occurrences.

    Reference: Yi et al., RecSys 2019, algorithm 2.
    """

    last: Tensor
    gap: Tensor
    hits: Tensor
    clock: Tensor
    batch_size: Tensor

    def __init__(self, num_items: int, rate: float = 0.05, expected_gap: float = 100.0) -> None:
        super().__init__()
        self.rate = rate
        # Buffers, so that a checkpoint has the estimates.
        self.register_buffer("last", torch.zeros(num_items + 1))
        self.register_buffer("gap", torch.full((num_items + 1,), float(expected_gap)))
        self.register_buffer("hits", torch.ones(num_items + 1))
        self.register_buffer("clock", torch.zeros(()))
        self.register_buffer("batch_size", torch.ones(()))

    def observe(self, positives: Tensor) -> None:
        """Update the averages of the items in the batch."""
        self.clock += 1
        # The largest, since the last batch of an epoch may be short.
        self.batch_size.clamp_(min=len(positives))
        rows, count = positives.unique(return_counts=True)
        self.gap[rows] += self.rate * (self.clock - self.last[rows] - self.gap[rows])
        self.hits[rows] += self.rate * (count - self.hits[rows])
        self.last[rows] = self.clock

    def probability(self, rows: Tensor) -> Tensor:
        """Return hits / gap / batch size."""
        return self.hits[rows] / self.gap[rows].clamp(min=1) / self.batch_size
