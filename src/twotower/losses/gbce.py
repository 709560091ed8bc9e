"""Binary cross-entropy whose positives count less the fewer of the catalogue are negatives."""

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import Fraction
from twotower.losses.block_loss import BlockLoss
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.candidates import Candidates


class Gbce(BlockLoss, TemperatureLoss):
    """L = (-beta log sigma(s+) - sum over n drawn negatives of log(1 - sigma(s_j))) / (1 + n).

    With few negatives a cross-entropy is overconfident: it learns that nearly everything is a yes. beta = 1 -
    t (1 - a), where a is the share of the catalogue that is drawn, takes that back; it is the paper's a (t (1
    - 1 / a) + 1 / a).

    When to prefer: where scores should read as probabilities, and rank nearly as the softmax does.
    Reference: Petrov and Macdonald, gSASRec: Reducing Overconfidence in Sequential Recommendation Trained
    with Negative Sampling, RecSys 2023, section 5.
    """

    class Config(BlockLoss.Config, TemperatureLoss.Config):
        """Settings of gBCE."""

        calibration: Fraction = 0.75
        """t: 0 leaves the plain cross-entropy, 1 takes back all that sampling did."""

    config: Config

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return the generalised cross-entropy; see `BlockLoss.formula`."""
        beta = 1 - self.config.calibration * (1 - share_drawn(candidates))

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            drawn = ~logits.isneginf() * counts
            total = 1 + drawn.sum(1)
            loss = (beta * F.softplus(-positive) + (drawn * F.softplus(logits)).sum(1)) / total
            slope = logits.sigmoid_().mul_(drawn).div_(total[:, None])
            return loss, slope, beta * (positive.sigmoid() - 1) / total

        return block


def share_drawn(candidates: Candidates) -> float:
    """Return how many draws there were for each item of the catalogue, 1 at most."""
    if candidates.num_draws is None or candidates.num_items is None:
        return 1.0
    return min(1.0, candidates.num_draws / max(1, candidates.num_items))
