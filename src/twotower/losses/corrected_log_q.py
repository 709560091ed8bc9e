"""The corrected log-q correction: the positive was not drawn, so its logit is not corrected."""

from dataclasses import replace
from typing import Literal

from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.scoring.scoring_config import ScoringConfig


class CorrectedLogQ(SampledSoftmax):
    """L = -s+ + log(exp(s+) + 1/n sum over negatives of n_j exp(s_j) / q_j), s = score / temperature.

    The sum over n draws estimates that over the catalogue, of which the positive is one certain term. The
    plain correction divides its term by n q too, as if it had been drawn. The gradients are those of the
    paper, (1 - p+) times the ones of -s+ + log(sum), p+ being the positive's share; its q / (1 - q+) of the
    draws that are not the positive is q of all draws here.

    Needs: `log_q`.
    When to prefer: with in-batch or mixed negatives, the more so where popular items are the positives.
    Reference: Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025, section 3.
    """

    class Config(SampledSoftmax.Config):
        """Settings of the softmax; there is always a correction."""

        log_q_correction: Literal[True] = True
        """The correction is what distinguishes this loss."""

        def scoring(self) -> ScoringConfig:
            """Return a correction of the negatives alone."""
            return replace(super().scoring(), log_q_correction="negatives")

    config: Config
