"""Binary cross-entropy whose positives count less the fewer of the catalogue are negatives."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import Fraction
from twotower.losses.temperature_loss import TemperatureLoss


class Gbce(TemperatureLoss):
    """L = (-beta log sigma(s+) - sum over n drawn negatives of log(1 - sigma(s_j))) / (1 + n).

    With few negatives a cross-entropy is overconfident: it learns that nearly everything is a yes. beta = 1 -
    t (1 - a), where a is the share of the catalogue that is drawn, takes that back; it is the paper's a (t (1
    - 1 / a) + 1 / a).

    When to prefer: where scores should read as probabilities, and rank nearly as the softmax does.
    Reference: Petrov and Macdonald, gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling, RecSys 2023, section 5.
    """

    class Config(TemperatureLoss.Config):
        """Settings of gBCE."""

        calibration: Fraction = 0.75
        """t: 0 leaves the plain cross-entropy, 1 takes back all that sampling did."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the generalized cross-entropy, [b]."""
        share_drawn = (multiplicity.sum() / self.num_items).clamp(max=1)
        beta = 1 - self.config.calibration * (1 - share_drawn)
        draws = ~negatives.isneginf() * multiplicity
        noes = (draws * F.softplus(negatives)).sum(1)
        return (beta * F.softplus(-positive) + noes) / (1 + draws.sum(1))
