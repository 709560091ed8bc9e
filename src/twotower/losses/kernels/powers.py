"""Odds that are a power of the score instead of its exponential, smooth and positive everywhere.

With y = 1 + z / p for a score z, odds are ((y + r) / 2)^p, r = (y^2 + ROUNDING)^1/2: for scores above -p
about (1 + z / p)^p, which tends to exp(z) as p grows; below it they fade as |y|^-p. The slope of their log is
1 / r.
"""

import math

import torch
from torch import Tensor

ROUNDING = 0.125
"""How far around y = 0 the corner is rounded. Between .03 and .5 recall does not tell them apart."""


def linked(scores: Tensor, power: float | None) -> Tensor:
    """Return the log of the odds of scores, of any shape, in a form that loses no digits.

    Without a power odds are exponentials, and scores their own log.
    """
    if power is None:
        return scores
    round_off = math.sqrt(ROUNDING)
    return power * (torch.asinh((1 + scores / power) / round_off) + math.log(round_off / 2))


def radii(roots: Tensor) -> Tensor:
    """Return r of y, as above."""
    return torch.addcmul(roots.new_full((), ROUNDING), roots, roots).sqrt_()


def raised(bases: Tensor, power: float) -> Tensor:
    """Return bases, none below 0, to a power, in their own memory."""
    if power in (1, 2, 4, 8):  # squaring is a fraction of `pow`
        for _ in range(int(math.log2(power))):
            bases.mul_(bases)
        return bases
    return bases.pow_(power)
