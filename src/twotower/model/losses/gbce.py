"""Generalized binary cross-entropy: the weight of the positive compensates for sampled negatives."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import Fraction
from twotower.model.losses.loss import TemperatureLoss


class Gbce(TemperatureLoss):
    """L = (-beta log sigma(s+) - sum over n drawn negatives of log(1 - sigma(s_j))) / (1 + n).

    With few negatives a cross-entropy overestimates probabilities. beta = 1 - t (1 - a), where a is the
    share of the catalogue that is drawn, corrects for it; it equals a (t (1 - 1 / a) + 1 / a) of the paper.

    Prefer it if scores are to be probabilities and to rank nearly as well as with the softmax.
    Reference: Petrov and Macdonald, gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling, RecSys 2023, section 5.
    """

    class Config(TemperatureLoss.Config):
        calibration: Fraction = 0.75
        """t: 0 is the plain cross-entropy, 1 the full correction for sampling."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the generalized cross-entropy, [b]."""
        share_drawn = (multiplicity.sum() / self.num_items).clamp(max=1)
        beta = 1 - self.config.calibration * (1 - share_drawn)
        draws = ~negatives.isneginf() * multiplicity
        of_negatives = (draws * F.softplus(negatives)).sum(1)
        return (beta * F.softplus(-positive) + of_negatives) / (1 + draws.sum(1))
