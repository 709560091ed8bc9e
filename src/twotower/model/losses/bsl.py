"""Bilateral softmax loss: separate weights of the positive and of the sum over negatives."""

from torch import Tensor
from torch.nn import functional

from twotower.config.spec import PositiveFloat
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.fused_softmax import mean_log_sum
from twotower.model.scoring.logits import Logits, relative

FLOOR = -40.0
"""Lower bound of the log of the sum over negatives, so that the loss is finite without negatives."""


class Bsl(SampledSoftmax):
    """L = -s+ + w log(sum over negatives of n_j exp(s_j)), s = score / temperature - log q.

    Separate temperatures of positives and negatives make the loss robust against noise in both; w is their
    ratio (tau_2 in the code of the authors).

    Needs: unit vectors and no item bias, otherwise it has no lower bound; `log_q` if corrected.
    Prefer it for models with ids only (`experiment=gowalla`) and many negatives.
    Reference: Wu et al., BSL: Understanding and Improving Softmax Loss for Recommendation, ICDE 2024,
    section 4; the mean is over examples, as in the code of the authors.
    """

    class Config(SampledSoftmax.Config):
        negative_weight: PositiveFloat = 1.2
        """w; the paper uses 1.06 to 1.3."""

        @property
        def needs(self) -> frozenset[str]:
            """`unit_vectors`, `no_item_bias` and the needs of the softmax."""
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
