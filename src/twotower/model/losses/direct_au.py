"""DirectAU: alignment of pairs, and uniformity of users and of items on the sphere."""

from typing import ClassVar

import torch
from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.model.losses.loss import CosineLoss
from twotower.model.negatives.sampler import ImpressionsAs
from twotower.model.scoring.logits import Logits, relative
from twotower.model.scoring.scorer import ScoringConfig


class DirectAu(CosineLoss):
    """L = mean |u - v|^2 + w / 2 (U(users) + U(positives)), U(x) = log mean over pairs of exp(-2 |x - x'|^2).

    It uses no negatives. Every training logs both terms, without weights and over samples of all users and
    items, as `health/alignment` and `health/..._uniformity`.

    Needs: unit vectors and no item bias.
    Prefer it if many negatives are false. Memory is P x P numbers.
    Reference: Wang et al., Towards Representation Alignment and Uniformity in Collaborative Filtering, KDD
    2022, section 4.
    """

    class Config(CosineLoss.Config):
        uniformity_weight: PositiveFloat = 1.0
        """w (gamma in the paper, .2 to 10)."""
        """Uniformity is of one vector per user."""
        compares_examples: ClassVar[bool] = True
        """Uniformity compares all pairs of a batch."""
        impressions: ClassVar[ImpressionsAs] = "nothing"

        def scoring(self) -> ScoringConfig:
            """Return cosines of the positives; no negatives are drawn."""
            return ScoringConfig(uses_negatives=False)

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the alignment |u - v|^2 = 2 - 2 u v of unit vectors, [b]."""
        return 2 - 2 * positive

    def mean(self, logits: Logits) -> Tensor:
        """Add the uniformity of users and of positives to the weighted mean of `forward`."""
        weights, embeddings = relative(logits.weights), (logits.by_positive().users, logits.positives)
        with torch.autocast(logits.users.device.type, enabled=False):
            users, positives = (
                uniformity(each.to(torch.promote_types(each.dtype, torch.float32)), weights)
                for each in embeddings
            )
            return super().mean(logits) + self.config.uniformity_weight / 2 * (users + positives)


def uniformity(vectors: Tensor, weights: Tensor) -> Tensor:
    """Return the log of the weighted mean over pairs of exp(-2 |x - x'|^2); 0 without a pair.

    Args:
        vectors: [P, D].
        weights: [P]; the weight of a pair is their product.
    """
    is_weighted = weights > 0
    vectors, log_weights = vectors[is_weighted], weights[is_weighted].log()
    if len(vectors) < 2:
        return vectors.sum() * 0
    squares = vectors.square().sum(1)
    distances = (squares[:, None] + squares - 2 * vectors @ vectors.T).clamp(min=0)
    diagonal = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    pair_weights = (log_weights[:, None] + log_weights).masked_fill(diagonal, -torch.inf).flatten()
    return (pair_weights - 2 * distances.flatten()).logsumexp(0) - pair_weights.logsumexp(0)
