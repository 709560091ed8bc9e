"""The positives of the batch are each other's negatives."""

import torch
from torch import Tensor

from twotower.negatives.frequency import FrequencyName, frequency_of
from twotower.negatives.sampler import NegativeSampler, distinct

RAREST = 1e-12


class InBatch(NegativeSampler):
    """The batch's own positives; q = how often an item is a positive.

    Args:
        config: see `Config`.
        frequencies: see `NegativeSampler`.
    """

    class Config(NegativeSampler.Config):
        """Where q comes from."""

        frequency: FrequencyName = "empirical"
        """`empirical` (counted in the train log), `streaming` (estimated while training, for logs that drift
        or cannot be counted) or `none` (no q is stated; a loss that corrects is refused)."""

        @property
        def provides(self) -> frozenset[str]:
            """`log_q`, unless the frequency is `none`."""
            return frozenset() if self.frequency == "none" else super().provides

        def num_draws(self, num_positives: int) -> int | None:
            """Return as many as there are positives."""
            return num_positives

    config: Config

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        self.frequency = frequency_of(config.frequency, frequencies)

    def observe(self, positives: Tensor) -> None:
        """Feed the streaming estimate."""
        self.frequency.observe(positives)

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct positives and how often each occurs."""
        return distinct(positives)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's frequency."""
        return self.frequency.probability(rows).clamp(min=RAREST).log()
