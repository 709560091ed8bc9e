"""Items drawn uniformly from the trained items."""

import torch
from torch import Tensor

from twotower.model.negatives.sampler import Draws, NegativeSampler, distinct


class Uniform(NegativeSampler):
    """`num_negatives` draws per batch with replacement, shared by all positives; q = 1 / trained items."""

    class Config(NegativeSampler.Config):
        num_negatives: Draws = 1024
        """Draws per batch."""

        def num_draws(self, num_positives: int) -> int | None:
            """Return `num_negatives`."""
            return self.num_negatives

    config: Config

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw with replacement."""
        rows = self.trained_rows
        drawn = torch.randint(len(rows), (self.config.num_negatives,), generator=generator)
        return distinct(rows[drawn.to(rows.device)])

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log(1 / trained items) for every row."""
        return -torch.full((len(rows),), float(len(self.trained_rows)), device=rows.device).log()
