"""Cosine contrastive loss: the positive near, of the negatives only those that are too near pushed away."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import Fraction, PositiveFloat
from twotower.losses.loss import Loss, mean_over_draws


class Ccl(Loss):
    """L = 1 - s+ + w * (mean over drawn negatives of max(0, s_j - margin)); the scores are cosines.

    Needs: unit vectors and no item bias.
    When to prefer: with a thousand uniform negatives or more, where it is near the softmax and cheap to tune.
    Reference: Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering, CIKM 2021,
    section 3.2.
    """

    class Config(Loss.Config):
        """Margin and weight."""

        margin: Fraction = 0.4
        """Negatives whose cosine is below it are left alone; .4 to .9 with the number of negatives."""
        negative_weight: PositiveFloat = 150.0
        """w, the weight of all negatives together against the one positive."""

        @property
        def needs(self) -> frozenset[str]:
            """Cosines."""
            return frozenset({"unit_vectors", "no_item_bias"})

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return 1 - s+ and the weighted mean of what exceeds the margin, [b]."""
        above = F.relu(negatives - self.config.margin)
        return 1 - positive + self.config.negative_weight * mean_over_draws(above, negatives, multiplicity)
