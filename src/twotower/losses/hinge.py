"""Pairwise ranking with a margin: a negative far enough behind the positive is left alone."""

from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.losses.block_loss import BlockLoss, shares
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.negatives.candidates import Candidates


class Hinge(BlockLoss):
    """L = mean over drawn negatives of max(0, margin - s+ + s_j), of plain scores.

    When to prefer: with hard negatives (`negatives=mined`), of which the easy rest should teach nothing.
    Reference: Weston et al., WSABIE: Scaling Up To Large Vocabulary Image Annotation, IJCAI 2011, section 3;
    without its weights by rank.
    """

    class Config(BlockLoss.Config):
        """The margin."""

        margin: PositiveFloat = 0.5
        """How far the positive must be ahead; scores of unit vectors lie within [-1, 1]."""

    config: Config

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return the mean of what lacks to the margin; see `BlockLoss.formula`."""

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            share = shares(logits, counts)
            lacking = logits.sub_(positive[:, None] - self.config.margin).clamp_(min=0)
            loss = (lacking * share).sum(1)
            slope = share.mul_(lacking > 0)
            return loss, slope, -slope.sum(1)

        return block
