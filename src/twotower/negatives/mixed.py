"""In-batch positives and uniform draws together."""

import torch
from torch import Tensor

from twotower.negatives.in_batch import RAREST, InBatch
from twotower.negatives.negatives import Draws, distinct, draw_evenly


class Mixed(InBatch):
    """The batch's own P positives and `num_uniform` uniform draws; one q for both, the mixture's.

    q = a f + (1 - a) / trained items with a = P / (P + num_uniform): rare items are drawn too, and popular
    ones are corrected by what the whole mixture does, not by one of its parts.

    Reference: Yang et al., Mixed Negative Sampling, WWW 2020 companion, section 3.
    """

    class Config(InBatch.Config):
        """How many of each."""

        num_uniform: Draws = 1024
        """Uniform draws a batch."""

        def num_draws(self, num_positives: int) -> int | None:
            """Return those of both parts."""
            return num_positives + self.num_uniform

    config: Config

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the distinct items of both parts and how often each was drawn."""
        return distinct(
            torch.cat([positives, draw_evenly(self.trained_rows, self.config.num_uniform, generator)])
        )

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of the mixture's probability."""
        share = num_positives / (num_positives + self.config.num_uniform)
        in_batch = self.frequency.probability(rows)
        return (share * in_batch + (1 - share) / len(self.trained_rows)).clamp(min=RAREST).log()
