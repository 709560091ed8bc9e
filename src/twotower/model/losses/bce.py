"""Binary cross-entropy of positives (label 1) and of negatives or impressions without a click (label 0)."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.model.losses.loss import TemperatureLoss, mean_over_draws
from twotower.model.negatives.sampler import ImpressionsAs


class Bce(TemperatureLoss):
    """L = -log sigma(s+) - w * (mean over drawn negatives of log(1 - sigma(s_j))), s = score / temperature.

    An impression without a click is an example with the loss -log(1 - sigma(s)). With these alone, it is
    the cross-entropy of click labels.

    Prefer it if scores are to be probabilities; for ranking the softmax is better.
    Reference: He et al., Neural Collaborative Filtering, WWW 2017, section 3.1.
    """

    class Config(TemperatureLoss.Config):
        negative_weight: PositiveFloat = 1.0
        """w, the weight of all sampled negatives together, relative to the positive."""
        impressions: ClassVar[ImpressionsAs] = "examples"

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the cross-entropy of the positive plus the weighted mean over the negatives, [b]."""
        of_negatives = mean_over_draws(F.softplus(negatives), negatives, multiplicity)
        return F.softplus(-positive) + self.config.negative_weight * of_negatives

    def negative_feedback(self, logits: Tensor) -> Tensor:
        """Return log(1 + exp(s)) of each labelled example without a click, [S]."""
        return F.softplus(logits)
