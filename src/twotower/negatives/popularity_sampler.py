"""Items drawn by how often they are positives, flattened."""

import numpy as np
import torch
from torch import Tensor

from twotower.config.spec import Fraction
from twotower.negatives.in_batch import RAREST
from twotower.negatives.sampler import Draws, NegativeSampler, distinct


class PopularitySampler(NegativeSampler):
    """`num_negatives` draws a batch with replacement; q = f^alpha / sum of f^alpha, f the item's frequency.

    When to prefer: between `uniform` (alpha 0) and what `in_batch` draws (alpha 1), with as many draws as
    wanted. Popular items are hard negatives: without a correction that costs them scores.
    Reference: Mikolov et al., Distributed Representations of Words and Phrases, NIPS 2013, section 2.2, where
    alpha is .75.
    """

    class Config(NegativeSampler.Config):
        """How many, and how flat."""

        num_negatives: Draws = 1024
        """Draws a batch."""
        alpha: Fraction = 0.75
        """0 draws evenly, 1 by frequency."""

        def num_draws(self, num_positives: int) -> int | None:
            """Return `num_negatives`."""
            return self.num_negatives

    config: Config
    probabilities: Tensor

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        powers = frequencies.double().pow(config.alpha) * (frequencies > 0)
        self.register_buffer("probabilities", (powers / powers.sum()).float(), persistent=False)
        # In float64, where a rare item's step is still one; on the CPU, as the generator is.
        self.cumulated = np.cumsum(powers[self.trained_rows].cpu().numpy())

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw with replacement."""
        points = torch.rand(self.config.num_negatives, generator=generator, dtype=torch.float64).numpy()
        places = np.searchsorted(self.cumulated, points * self.cumulated[-1], side="right")
        places = torch.from_numpy(np.minimum(places, len(self.cumulated) - 1))
        return distinct(self.trained_rows[places.to(self.trained_rows.device)])

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's probability."""
        return self.probabilities[rows].clamp(min=RAREST).log()
