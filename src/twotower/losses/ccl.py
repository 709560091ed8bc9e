"""Cosine contrastive loss: the positive near, of the negatives only those that are too near pushed away."""

import torch
from torch import Tensor

from twotower.config.spec import Fraction, PositiveFloat
from twotower.losses.block_loss import BlockLoss, shares
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.negatives.candidates import Candidates


class Ccl(BlockLoss):
    """L = 1 - s+ + w * (mean over drawn negatives of max(0, s_j - margin)); the scores are cosines.

    Needs: unit vectors and no item bias.
    When to prefer: with a thousand uniform negatives or more, where it is near the softmax and cheap to tune.
    Reference: Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering, CIKM 2021,
    section 3.2.
    """

    class Config(BlockLoss.Config):
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

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return 1 - s+ and what is above the margin; see `BlockLoss.formula`."""

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            share = shares(logits, counts).mul_(self.config.negative_weight)
            above = logits.sub_(self.config.margin).clamp_(min=0)
            loss = 1 - positive + (share * above).sum(1)
            return loss, share.mul_(above > 0), torch.full_like(positive, -1.0)

        return block
