"""The link function from scores to logits: the identity (odds are exponentials), or a smooth power.

With y = 1 + z / p for a score z, the power's odds are ((y + r) / 2)^p, r = (y^2 + ROUNDING)^1/2: for scores
above -p about (1 + z / p)^p, which tends to exp(z) as p grows; below it they fade as |y|^-p. They are smooth
and positive everywhere; the derivative of their log is 1 / r.
"""

import math

import torch
from torch import Tensor

ROUNDING = 0.125  # width of the rounded corner at y = 0; recall does not depend on it between .03 and .5


def link(scores: Tensor, power: float | None) -> Tensor:
    """Return the log odds of scores, of any shape; without a power these are the scores."""
    if power is None:
        return scores
    root = math.sqrt(ROUNDING)
    return power * (torch.asinh((1 + scores / power) / root) + math.log(root / 2))


def inverse_slopes(bases: Tensor) -> Tensor:
    """Return r of y, as above: the inverse of the link's derivative."""
    return torch.addcmul(bases.new_full((), ROUNDING), bases, bases).sqrt_()


def raise_to_power(bases: Tensor, power: float) -> Tensor:
    """Raise non-negative bases to a power, in place."""
    if power in (1, 2, 4, 8):  # squaring is a fraction of `pow`
        for _ in range(int(math.log2(power))):
            bases.mul_(bases)
        return bases
    return bases.pow_(power)
