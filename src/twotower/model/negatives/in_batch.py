"""The positives of the batch as negatives."""

import torch
from torch import Tensor

from twotower.model.negatives.sampler import RAREST, NegativeSampler, distinct


class InBatch(NegativeSampler):
    """The positives of the batch; q is the probability that an item is a positive."""

    class Config(NegativeSampler.Config):
        def num_draws(self, num_positives: int) -> int | None:
            """Return the number of positives."""
            return num_positives

    config: Config

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct positives and the count of each."""
        return distinct(positives)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's frequency."""
        return self.frequencies[rows].clamp(min=RAREST).log()
