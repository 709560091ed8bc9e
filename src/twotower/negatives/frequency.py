"""How often an item is a positive of a batch: counted in the train log, or estimated while training."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

FrequencyName = Literal["empirical", "streaming", "none"]


class Frequency(nn.Module, ABC):
    """The probability with which one example's positive is an item."""

    @abstractmethod
    def probability(self, rows: Tensor) -> Tensor:
        """Return the probability of each row [R]."""

    def observe(self, positives: Tensor) -> None:
        """See the positives of a training batch."""


class Empirical(Frequency):
    """The share of the train log's (weighted) examples whose positive is the item."""

    frequencies: Tensor

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequencies, persistent=False)

    def probability(self, rows: Tensor) -> Tensor:
        """Return the counted shares."""
        return self.frequencies[rows]


class Streaming(Frequency):
    """Moving averages of the batches between an item's hits and of its hits in a batch that has it.

    The probability is hits / gap / batch size. The published estimator counts a hit a batch at most, which
    flattens popular items; the second average mends that.

    Args:
        num_items: items of the catalogue.
        rate: step of both averages.
        expected_gap: batches between hits assumed before anything was seen.

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
        # Buffers, so that a resumed training goes on with the same estimates.
        self.register_buffer("last", torch.zeros(num_items + 1))
        self.register_buffer("gap", torch.full((num_items + 1,), float(expected_gap)))
        self.register_buffer("hits", torch.ones(num_items + 1))
        self.register_buffer("clock", torch.zeros(()))
        self.register_buffer("batch_size", torch.ones(()))

    def observe(self, positives: Tensor) -> None:
        """Move the averages of the items in this batch."""
        self.clock += 1
        # The largest, not the latest: the short batch that ends an epoch would multiply every estimate.
        self.batch_size.clamp_(min=len(positives))
        rows, count = positives.unique(return_counts=True)
        self.gap[rows] += self.rate * (self.clock - self.last[rows] - self.gap[rows])
        self.hits[rows] += self.rate * (count - self.hits[rows])
        self.last[rows] = self.clock

    def probability(self, rows: Tensor) -> Tensor:
        """Return hits / gap / batch size."""
        return self.hits[rows] / self.gap[rows].clamp(min=1) / self.batch_size


def frequency_of(name: FrequencyName, frequencies: Tensor) -> Frequency:
    """Build the estimate a YAML names; `none` states no usable q and counts for nothing."""
    return Streaming(len(frequencies) - 1) if name == "streaming" else Empirical(frequencies)
