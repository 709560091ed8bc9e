"""The positives of the batch as negatives."""

from typing import Literal

import torch
from torch import Tensor

from twotower.negatives.frequency import Empirical, Frequency, Streaming
from twotower.negatives.sampler import NegativeSampler, distinct

RAREST = 1e-12


class InBatch(NegativeSampler):
    """The positives of the batch; q is the probability that an item is a positive.

    Args:
        config: see `Config`.
        frequencies: see `NegativeSampler`.
    """

    class Config(NegativeSampler.Config):
        """The source of q."""

        frequency: Literal["empirical", "streaming", "none"] = "empirical"
        """`empirical` (counted in the training data), `streaming` (estimated during training, if popularity
        changes) or `none` (no q; losses with a correction are refused)."""

        @property
        def provides(self) -> frozenset[str]:
            """`log_q`, unless the frequency is `none`."""
            return frozenset() if self.frequency == "none" else super().provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return the number of positives."""
            return num_positives

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        streams = config.frequency == "streaming"
        self.frequency: Frequency = Streaming(len(frequencies) - 1) if streams else Empirical(frequencies)

    def observe(self, positives: Tensor) -> None:
        """Update the streaming estimate."""
        self.frequency.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct positives and the count of each."""
        return distinct(positives)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's frequency."""
        return self.frequency.probability(rows).clamp(min=RAREST).log()
