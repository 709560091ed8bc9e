"""Binary cross-entropy: the positive is a yes; each negative, sampled or shown, a no."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import mean_over_draws
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.sampler import ImpressionsAs


class Bce(TemperatureLoss):
    """L = -log sigma(s+) - w * (mean over drawn negatives of log(1 - sigma(s_j))), s = score / temperature.

    A shown negative is an example of its own, -log(1 - sigma(s)): with these alone it is the cross-entropy of
    click labels.

    When to prefer: when scores should read as probabilities; for ranking the softmax is better.
    Reference: He et al., Neural Collaborative Filtering, WWW 2017, section 3.1.
    """

    class Config(TemperatureLoss.Config):
        """Settings of a binary cross-entropy."""

        negative_weight: PositiveFloat = 1.0
        """w, the weight of all sampled negatives together against the one positive."""

        @property
        def impressions(self) -> ImpressionsAs:
            """As examples with the label 0."""
            return "examples"

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the cross-entropy of the positive and the weighted mean of the negatives', [b]."""
        noes = mean_over_draws(F.softplus(negatives), negatives, multiplicity)
        return F.softplus(-positive) + self.config.negative_weight * noes

    def negative_feedback(self, logits: Tensor) -> Tensor:
        """Return log(1 + exp(s)) of each labelled example without a click, [S]."""
        return F.softplus(logits)
