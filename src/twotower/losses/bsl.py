"""Bilateral softmax: the sum over negatives has a weight of its own, and the positive no part in it."""

from torch import Tensor

from twotower.config.spec import PositiveFloat
from twotower.losses.in_batch_softmax import InBatchSoftmax
from twotower.negatives.candidates import Candidates

FLOOR = -40.0
"""Of the logarithm of a sum over negatives: without any the loss stays finite. Those of cosines lie above."""


class Bsl(InBatchSoftmax):
    """L = -s+ + w log(sum over negatives of n_j exp(s_j)), s = score / temperature - log q.

    Dividing the two sides by temperatures of their own makes the loss robust against noise on both; w is the
    ratio of the two (tau_2 of the authors' code). On Gowalla matrix factorisation rises from .176 to .188
    recall@20 with w = 1.22.

    Needs: unit vectors and no item bias, since nothing else bounds it from below; `log_q` when corrected.
    When to prefer: first for ids alone (`experiment=gowalla`), with many negatives.
    Reference: Wu et al., BSL: Understanding and Improving Softmax Loss for Recommendation, ICDE 2024,
    section 4; the mean over a user's positives is over examples here, as in its code.
    """

    class Config(InBatchSoftmax.Config):
        """Settings of a bilateral softmax."""

        negative_weight: PositiveFloat = 1.2
        """w; 1.06 to 1.3 in the authors' tables."""

        @property
        def needs(self) -> frozenset[str]:
            """Cosines, and what the softmax needs."""
            return super().needs | {"unit_vectors", "no_item_bias"}

    config: Config
    shares_users = False

    def mean_loss(
        self,
        users: Tensor,
        positives: Tensor,
        items: Tensor,
        candidates: Candidates,
        weights: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted mean; see `Loss.mean_loss`."""
        users = self.scaled(users)
        logits = self._positive_logits(users, positives, candidates)
        # The kernel's loss beside a positive that adds nothing is the log of the sum, above that positive.
        floor = logits.new_full(logits.shape, FLOOR)
        above_floor = self._loss_of(floor, users, items, candidates, weights, own)
        relative = weights / weights.max()
        mean = (logits * relative).sum() / relative.sum()
        return self.config.negative_weight * (above_floor + FLOOR) - mean
