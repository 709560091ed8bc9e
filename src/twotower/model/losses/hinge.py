"""Pairwise hinge loss with a margin."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.model.losses.loss import Loss, mean_over_draws


class Hinge(Loss):
    """L = mean over drawn negatives of max(0, margin - s+ + s_j), of plain scores.

    Prefer it with hard negatives (`negatives=mined`), if easy negatives should have no gradient.
    Reference: Weston et al., WSABIE: Scaling Up To Large Vocabulary Image Annotation, IJCAI 2011, section 3,
    without the weights by rank.
    """

    class Config(Loss.Config):
        margin: PositiveFloat = 0.5
        """Required difference of the scores; scores of unit vectors are within [-1, 1]."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the mean of max(0, margin - (s+ - s_j)), [b]."""
        shortfalls = F.relu(self.config.margin - (positive[:, None] - negatives))
        return mean_over_draws(shortfalls, negatives, multiplicity)
