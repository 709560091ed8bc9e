"""Bilateral softmax: the sum over negatives has a weight of its own, and the positive no part in it."""

from torch import Tensor
from torch.nn import functional

from twotower.config.spec import PositiveFloat
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.scoring.fused_softmax import mean_log_sum
from twotower.scoring.logits import Logits, relative

FLOOR = -40.0
"""Of the logarithm of a sum over negatives: without any the loss stays finite. Those of cosines lie above."""


class Bsl(SampledSoftmax):
    """L = -s+ + w log(sum over negatives of n_j exp(s_j)), s = score / temperature - log q.

    Dividing the two sides by temperatures of their own makes the loss robust against noise on both; w is the
    ratio of the two (tau_2 of the authors' code). On Gowalla matrix factorization rises from .176 to .188
    recall@20 with w = 1.22.

    Needs: unit vectors and no item bias, since nothing else bounds it from below; `log_q` when corrected.
    When to prefer: first for ids alone (`experiment=gowalla`), with many negatives.
    Reference: Wu et al., BSL: Understanding and Improving Softmax Loss for Recommendation, ICDE 2024,
    section 4; the mean over a user's positives is over examples here, as in its code.
    """

    class Config(SampledSoftmax.Config):
        """Settings of a bilateral softmax."""

        negative_weight: PositiveFloat = 1.2
        """w; 1.06 to 1.3 in the authors' tables."""

        @property
        def needs(self) -> frozenset[str]:
            """Cosines, and what the softmax needs."""
            return super().needs | {"unit_vectors", "no_item_bias"}

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return -s+ + w log(sum over negatives), [b]."""
        terms = functional.pad(negatives + multiplicity.log(), (0, 1), value=FLOOR)
        return self.config.negative_weight * terms.logsumexp(1) - positive

    def mean(self, logits: Logits) -> Tensor:
        """Return the weighted mean of `forward`, by the fused softmax."""
        weights = relative(logits.weights)
        mean = (logits.positive * weights).sum() / weights.sum()
        return self.config.negative_weight * mean_log_sum(logits, FLOOR) - mean
