"""The log-q correction, corrected: the positive was not drawn, so nothing is to be corrected of it."""

import math
from typing import Literal

from torch import Tensor

from twotower.losses.block_loss import logits_of, with_prior
from twotower.losses.in_batch_softmax import InBatchSoftmax
from twotower.negatives.candidates import Candidates


class CorrectedLogQ(InBatchSoftmax):
    """L = -s+ + log(exp(s+) + 1/n sum over negatives of n_j exp(s_j) / q_j), s = score / temperature.

    The sum over n draws estimates that over the catalogue, of which the positive is one certain term. The
    plain correction divides its term by n q too, as if it had been drawn. The slopes are those of the paper,
    (1 - p+) times the ones of -s+ + log(sum), p+ being the positive's share; its q / (1 - q+) of the draws
    that are not the positive is q of all draws here.

    Needs: `log_q`.
    When to prefer: with in-batch or mixed negatives, the more so where popular items are the positives.
    Reference: Khrylchenko et al., Correcting the LogQ Correction, RecSys 2025, section 3.
    """

    class Config(InBatchSoftmax.Config):
        """Settings of the softmax; there is always a correction."""

        log_q_correction: Literal[True] = True
        """It is what this loss is for."""

    config: Config

    def _positive_logits(self, users: Tensor, positives: Tensor, candidates: Candidates) -> Tensor:
        """Return the logits [P] of the positives, in the units of a sum of n draws over q."""
        return with_prior(logits_of(users, positives), candidates) + math.log(candidates.num_draws or 1)
