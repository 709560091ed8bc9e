"""Pairwise ranking: the positive should score above each negative."""

from torch import Tensor
from torch.nn import functional as F

from twotower.losses.block_loss import BlockLoss, shares
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.losses.temperature import TemperatureLoss
from twotower.negatives.candidates import Candidates


class Bpr(BlockLoss, TemperatureLoss):
    """L = mean over drawn negatives of -log sigma(s+ - s_j), s = score / temperature.

    When to prefer: as the reference of most papers; the softmax finds hard negatives by itself.
    Reference: Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009, section 4.
    """

    class Config(BlockLoss.Config, TemperatureLoss.Config):
        """Settings of BPR."""

    config: Config

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return the mean softplus of the differences; see `BlockLoss.formula`."""

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            share = shares(logits, counts)
            behind = logits.sub_(positive[:, None])
            loss = (F.softplus(behind) * share).sum(1)
            slope = behind.sigmoid_().mul_(share)
            return loss, slope, -slope.sum(1)

        return block
