"""Pairwise ranking with a margin: a negative far enough behind the positive is left alone."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import Loss, mean_over_draws


class Hinge(Loss):
    """L = mean over drawn negatives of max(0, margin - s+ + s_j), of plain scores.

    When to prefer: with hard negatives (`negatives=mined`), of which the easy rest should teach nothing.
    Reference: Weston et al., WSABIE: Scaling Up To Large Vocabulary Image Annotation, IJCAI 2011, section 3;
    without its weights by rank.
    """

    class Config(Loss.Config):
        """The margin."""

        margin: PositiveFloat = 0.5
        """How far the positive must be ahead; scores of unit vectors lie within [-1, 1]."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the mean of max(0, margin - (s+ - s_j)), [b]."""
        short = F.relu(self.config.margin - (positive[:, None] - negatives))
        return mean_over_draws(short, negatives, multiplicity)
