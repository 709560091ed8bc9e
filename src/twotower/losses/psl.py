"""Pairwise softmax loss: the softmax with a bounded activation in the exponential's place."""

import math

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.losses.block_loss import BlockLoss
from twotower.losses.kernels.blockwise import BlockFormula
from twotower.negatives.candidates import Candidates


class Psl(BlockLoss):
    """L = log(1 + sum over negatives of n_j (1 + tanh(s_j - s+)) ^ (1 / temperature)), of cosines.

    The softmax is the same with exp(s_j - s+). tanh lets a negative that is far ahead, most likely a false
    one, weigh no more than one that is a little ahead, and bounds the ranking metric more tightly. The 1 is
    the positive's own term.

    Needs: unit vectors and no item bias; far apart, scores have no slope.
    When to prefer: where many negatives are false, as with noisy logs.
    Reference: Yang et al., PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
    Recommendation, NeurIPS 2024, section 3.
    """

    class Config(BlockLoss.Config):
        """Settings of a pairwise softmax."""

        temperature: PositiveFloat = 0.05
        """Of the sum, outside the activation; about half of a softmax's."""

        @property
        def needs(self) -> frozenset[str]:
            """Cosines."""
            return frozenset({"unit_vectors", "no_item_bias"})

    config: Config

    def formula(self, counts: Tensor, candidates: Candidates) -> BlockFormula:
        """Return the log of the sum; see `BlockLoss.formula`."""
        temperature, log_counts = self.config.temperature, counts.log()

        def block(logits: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            ahead = logits.sub_(positive[:, None])
            # 1 + tanh(d) = 2 sigma(2 d), whose logarithm is exact where the activation is nearly 0
            terms = F.logsigmoid(2 * ahead).add_(math.log(2)).div_(temperature).add_(log_counts)
            peak = terms.amax(1).clamp(min=0) if terms.shape[1] else positive.new_zeros(len(positive))
            shares = terms.sub_(peak[:, None]).exp_()
            total = shares.sum(1) + (-peak).exp()
            slope = ahead.mul_(-2).sigmoid_().mul_(shares).mul_((2 / temperature) / total[:, None])
            return peak + total.log(), slope, -slope.sum(1)

        return block
