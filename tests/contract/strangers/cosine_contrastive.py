"""A loss of somebody else's: cosines, a margin beyond which nothing is learned, and needs of the towers."""

import torch
from torch import Tensor

from twotower.config.spec import Fraction, PositiveFloat
from twotower.losses.kernels.blockwise import blockwise_loss
from twotower.losses.loss import Loss
from twotower.negatives.candidates import Candidates


class CosineContrastive(Loss):
    """L = 1 - s+ + w * (mean over drawn negatives of max(0, s_j - margin)); the scores are cosines.

    Reference: Mao et al., SimpleX: A Simple and Strong Baseline for Collaborative Filtering, CIKM 2021,
    section 3.2.
    """

    class Config(Loss.Config):
        margin: Fraction = 0.4
        """Negatives below it are left alone."""
        negative_weight: PositiveFloat = 1.0
        """w."""

        @property
        def needs(self) -> frozenset[str]:
            return frozenset({"unit_vectors", "no_item_bias"})

    config: Config

    def forward(
        self, users: Tensor, positives: Tensor, items: Tensor, candidates: Candidates, weights: Tensor
    ) -> Tensor:
        positive_scores = (users * positives).sum(-1, dtype=torch.promote_types(users.dtype, torch.float32))
        count = candidates.log_count.exp()

        def block(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            share = ~scores.isneginf() * count
            share = self.config.negative_weight * share / share.sum(1, keepdim=True).clamp(min=1)
            above = (scores - self.config.margin).clamp(min=0)
            loss = 1 - positive + (share * above).sum(1)
            return loss, share * (above > 0), torch.full_like(positive, -1.0)

        return blockwise_loss(
            block,
            users,
            items,
            positive_scores,
            torch.zeros_like(count),
            candidates.masked_positives,
            candidates.masked_candidates,
            weights,
        )
