"""Items drawn in proportion to a power of their frequency."""

import numpy as np
import torch
from torch import Tensor

from twotower.config.spec import Fraction
from twotower.model.negatives.sampler import RAREST, Draws, NegativeSampler, distinct


class PopularitySampler(NegativeSampler):
    """`num_negatives` draws per batch with replacement; q = f^alpha / sum of f^alpha, f the item's frequency.

    It is between `uniform` (alpha 0) and `in_batch` (alpha 1), with any number of draws. Without a log-q
    correction popular items get lower scores.
    Reference: Mikolov et al., Distributed Representations of Words and Phrases, NIPS 2013, section 2.2, with
    alpha .75.
    """

    class Config(NegativeSampler.Config):
        num_negatives: Draws = 1024
        """Draws per batch."""
        alpha: Fraction = 0.75
        """Power of the frequency: 0 is uniform, 1 proportional."""

        def num_draws(self, num_positives: int) -> int | None:
            """Return `num_negatives`."""
            return self.num_negatives

    config: Config
    probabilities: Tensor

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        super().__init__(config, frequencies)
        powers = frequencies.double().pow(config.alpha) * (frequencies > 0)
        self.register_buffer("probabilities", (powers / powers.sum()).float(), persistent=False)
        # In float64, in which rare items have a positive share; on the CPU, like the generator.
        self.cumulative = np.cumsum(powers[self.trained_rows].cpu().numpy())

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw with replacement."""
        points = torch.rand(self.config.num_negatives, generator=generator, dtype=torch.float64).numpy()
        positions = np.searchsorted(self.cumulative, points * self.cumulative[-1], side="right")
        positions = torch.from_numpy(np.minimum(positions, len(self.cumulative) - 1))
        return distinct(self.trained_rows[positions.to(self.trained_rows.device)])

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return the log of each item's probability."""
        return self.probabilities[rows].clamp(min=RAREST).log()
