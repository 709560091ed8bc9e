"""Softmax with a log-q correction of the negatives only, since the positive is not drawn."""

from dataclasses import replace
from typing import Literal

from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.scorer import ScoringConfig


class CorrectedLogQ(SampledSoftmax):
    """L = -s+ + log(exp(s+) + 1/n sum over negatives of n_j exp(s_j) / q_j), s = score / temperature.

    The sum over n draws estimates the sum over the catalogue, in which the positive is a certain term. The
    plain correction divides the term of the positive by n q, too. The gradients equal the paper's,
    where the draws exclude the positive and q is divided by 1 - q+.

    Needs: `log_q`.
    Prefer it with in-batch or mixed negatives, in particular if the positives are popular items.
    Reference: Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025, section 3.
    """

    class Config(SampledSoftmax.Config):
        """Settings of the softmax, with a correction."""

        log_q_correction: Literal[True] = True
        """Always true."""

        def scoring(self) -> ScoringConfig:
            """Return a correction of the negatives only."""
            return replace(super().scoring(), log_q_correction="negatives")

    config: Config
