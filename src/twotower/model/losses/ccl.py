"""Cosine contrastive loss: attracts the positive, and repels negatives above a margin."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import Fraction, PositiveFloat
from twotower.model.losses.loss import CosineLoss, mean_over_draws


class Ccl(CosineLoss):
    """L = 1 - s+ + w * (mean over drawn negatives of max(0, s_j - margin)); the scores are cosines.

    Needs: unit vectors and no item bias.
    Prefer it with a thousand uniform negatives or more, where it is close to the softmax.
    Reference: Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering, CIKM 2021,
    section 3.2.
    """

    class Config(CosineLoss.Config):
        margin: Fraction = 0.4
        """Negatives with a cosine below it have no loss; .4 to .9, higher with more negatives."""
        negative_weight: PositiveFloat = 150.0
        """w, the weight of all negatives together, relative to the positive."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return 1 - s+ plus the weighted mean excess over the margin, [b]."""
        above = F.relu(negatives - self.config.margin)
        return 1 - positive + self.config.negative_weight * mean_over_draws(above, negatives, multiplicity)
