"""A loss of somebody else's: cosines, a margin beyond which nothing is learned, and needs of the towers."""

from torch import Tensor

from twotower.config.spec import Fraction, PositiveFloat
from twotower.model.losses.loss import Loss


class CosineContrastive(Loss):
    """L = 1 - s+ + w * (mean over drawn negatives of max(0, s_j - margin)); the scores are cosines.

    Reference: Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering, CIKM 2021,
    section 3.2.
    """

    class Config(Loss.Config):
        margin: Fraction = 0.4
        """Negatives below it are left alone."""
        negative_weight: PositiveFloat = 1.0
        """w."""

        @property
        def needs(self) -> frozenset[str]:
            return frozenset({"unit_vectors", "no_item_bias"})

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        draws = ~negatives.isneginf() * multiplicity
        above = (negatives - self.config.margin).clamp(min=0)
        mean = (draws * above).sum(1) / draws.sum(1).clamp(min=1)
        return 1 - positive + self.config.negative_weight * mean
