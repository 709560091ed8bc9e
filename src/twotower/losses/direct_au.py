"""Alignment and uniformity: pairs near each other, users and items each spread over the sphere."""

import torch
from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.losses.loss import Loss
from twotower.negatives.sampler import ImpressionsAs
from twotower.scoring.logits import Logits, relative
from twotower.scoring.scoring_config import ScoringConfig


class DirectAu(Loss):
    """L = mean |u - v|^2 + w / 2 (U(users) + U(positives)), U(x) = log mean over pairs of exp(-2 |x - x'|^2).

    It reads the batch's users and positives alone; no negative is drawn. Both terms are logged for any
    training as `health/alignment` and `health/uniformity`.

    Needs: unit vectors and no item bias.
    When to prefer: where negatives are costly or mostly false. A batch takes P x P numbers.
    Reference: Wang et al., Towards Representation Alignment and Uniformity in Collaborative Filtering, KDD
    2022, section 4.
    """

    class Config(Loss.Config):
        """The weight of uniformity."""

        uniformity_weight: PositiveFloat = 1.0
        """w (gamma of the paper: .2 to 10)."""

        @property
        def needs(self) -> frozenset[str]:
            """Points on the sphere."""
            return frozenset({"unit_vectors", "no_item_bias"})

        @property
        def impressions(self) -> ImpressionsAs:
            """It does not learn from them."""
            return "nothing"

        def scoring(self) -> ScoringConfig:
            """Return cosines of the positives; no negatives are drawn."""
            return ScoringConfig(uses_negatives=False)

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the alignment |u - v|^2 = 2 - 2 u v of unit vectors, [b]."""
        return 2 - 2 * positive

    def mean(self, logits: Logits) -> Tensor:
        """Add the uniformity of users and of positives to the weighted mean of `forward`."""
        weights, sides = relative(logits.weights), (logits.by_positive().users, logits.positives)
        with torch.autocast(logits.users.device.type, enabled=False):
            spread = [
                uniformity(side.to(torch.promote_types(side.dtype, torch.float32)), weights) for side in sides
            ]
            return super().mean(logits) + self.config.uniformity_weight / 2 * (spread[0] + spread[1])


def uniformity(vectors: Tensor, weights: Tensor) -> Tensor:
    """Return the log of the weighted mean over pairs of exp(-2 |x - x'|^2); 0 where there is no pair.

    Args:
        vectors: [P, D].
        weights: [P] of which a pair's is the product.
    """
    counts = weights > 0
    vectors, logarithms = vectors[counts], weights[counts].log()
    if len(vectors) < 2:
        return vectors.sum() * 0
    squares = vectors.square().sum(1)
    apart = (squares[:, None] + squares - 2 * vectors @ vectors.T).clamp(min=0)
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    of_pairs = (logarithms[:, None] + logarithms).masked_fill(itself, -torch.inf).flatten()
    return (of_pairs - 2 * apart.flatten()).logsumexp(0) - of_pairs.logsumexp(0)
