"""Pairwise softmax loss: the softmax with a bounded activation in place of the exponential."""

import math

from torch import Tensor
from torch.nn import functional as F

from twotower.config.spec import PositiveFloat
from twotower.model.losses.loss import CosineLoss


class Psl(CosineLoss):
    """L = log(1 + sum over negatives of n_j (1 + tanh(s_j - s+)) ^ (1 / temperature)), of cosines.

    The softmax has exp(s_j - s+) instead. tanh limits the weight of negatives that score far above the
    positive, which are often false, and bounds the ranking metric more tightly. The 1 is the term of the
    positive. The authors divide cosines by 2 or more; here they are not divided.

    Needs: unit vectors and no item bias, since distant scores have no gradient.
    Prefer it if many negatives are false, as in noisy data.
    Reference: Yang et al., PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
    Recommendation, NeurIPS 2024, section 3.
    """

    class Config(CosineLoss.Config):
        temperature: PositiveFloat = 0.05
        """Temperature outside the activation. The authors halve the cosines, so theirs is half as high."""

    config: Config

    def forward(self, positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
        """Return the log of the sum, [b]."""
        # 1 + tanh(d) = 2 sigma(2 d), whose logarithm is exact where the activation is nearly 0
        activation = F.logsigmoid(2 * (negatives - positive[:, None])) + math.log(2)
        terms = activation / self.config.temperature + multiplicity.log()
        return F.pad(terms, (0, 1)).logsumexp(1)  # the column of zeros is the term of the positive
