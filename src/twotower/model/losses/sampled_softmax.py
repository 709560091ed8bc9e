"""Softmax cross-entropy of the positive against the negatives."""

from dataclasses import replace

from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.model.losses.loss import TemperatureLoss
from twotower.model.scoring.fused_softmax import cross_entropy, mean_cross_entropy
from twotower.model.scoring.logits import Logits
from twotower.model.scoring.scorer import ScoringConfig


class SampledSoftmax(TemperatureLoss):
    """-log of the positive's share: L = -s+ + log(exp(s+) + sum over negatives of n_j exp(s_j)).

    s = score / temperature - log q, where q is the probability of the item in one draw and n_j the number of
    draws of negative j. With `negatives=in_batch` the negatives are the other positives of the batch; with
    `negatives=catalogue` it is the exact softmax. Query negatives are further terms of the sum.

    Needs: `log_q` if corrected.
    Prefer it as the first choice: it ranks the positive against all negatives at once.
    Reference: Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019, section 3.
    """

    class Config(TemperatureLoss.Config):
        temperature: PositiveFloat = 0.07
        """Divides scores, before the correction."""
        log_q_correction: bool = True
        """Subtract log q; otherwise popular items get lower scores because they are drawn often."""

        @property
        def needs(self) -> frozenset[str]:
            """`log_q` if corrected."""
            return frozenset({"log_q"} if self.log_q_correction else ())

        def scoring(self) -> ScoringConfig:
            """Return the temperature and the correction."""
            return replace(super().scoring(), log_q_correction="all" if self.log_q_correction else "none")

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the cross-entropy, [b]."""
        return cross_entropy(positive, negatives, multiplicity)

    def takes_share_of_negatives(self) -> bool:
        """Return True: the sum over negatives is a log-sum-exp, unless a subclass changes the loss."""
        return type(self).forward is SampledSoftmax.forward and type(self).mean is SampledSoftmax.mean

    def mean(self, logits: Logits) -> Tensor:
        """Return the weighted mean of `forward`, by the fused implementation unless a subclass changes it."""
        if type(self).forward is not SampledSoftmax.forward:
            return super().mean(logits)
        return mean_cross_entropy(logits)
