"""The softmax's loss and gradients with one pass over the logits between three matrix products.

Shapes: P positives, C candidates, O own candidates of a positive, D embedding, M masked pairs, b rows of a
block, W columns of a block.
"""

import math
from typing import Any

import torch
from torch import Tensor

from twotower.losses.kernels.blockwise import (
    GradientsMadeForward,
    accumulator_of,
    blockwise_loss,
    precision_of,
)
from twotower.losses.kernels.masks import Masks, padded
from twotower.losses.kernels.owned import Owned
from twotower.losses.kernels.sides import PoweredSides, Sides
from twotower.towers.item_bias.item_bias import Prior

BLOCK_BYTES = 1 << 23
"""Of logits held at once. One core takes as long with blocks of 2 to 16 MB; two, which both must be woken for
each product, take 14 ms with 8 MB for 17 with 2 (1,024 x 3,424), and in bf16 33 for 46 (4,096 x 4,096)."""
SAFE = 40.0
"""Logits up to this are exponents as they are: e^40 = 2e17, its inverse and sums of them are float32's."""


def softmax_loss(
    users: Tensor,
    candidates: Tensor,
    positive_logits: Tensor,
    bias: Tensor,
    masked_positives: Tensor,
    masked_candidates: Tensor,
    weights: Tensor,
    own_logits: Tensor | None = None,
    prior: Prior | None = None,
    owners: Tensor | None = None,
    power: float | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Compute `blockwise_loss` of `cross_entropy`, its reference, to rounding; see there for the arguments.

    Where several positives are of one user (`owners` [P], ascending: the row of each one's user among users
    [B]), its logits are made once: the sum over the negatives is the same for all of them.

    With a `power` the products are linked to logits by `powers.linked`; positive and own logits are already.

    Floor: the three products, 6 P C D operations. Of the rest only the exponential is a pass over the whole
    matrix: the bias is a factor of the candidates, exp(bias); the division by the sum and the weights are
    factors of the users, behind one product and before the other; and no maximum is subtracted where the
    lengths of the embeddings say that none is needed. In base 2, since torch's exp2 takes .3 ns a number and
    its exp .8. In bf16 no number of the matrix is ever converted.

    Measured (`scripts/bench/step.py`, one core, AVX-512): a whole step of 4,096 runs at 58 % of the rate of a
    large product in float32 and 37 % in bf16, of 1,024 with a catalogue of 3,416 at 57 and 34 %. Alone, P =
    1,024, C = 3,416, D = 64: 21 ms of a floor of 15 in float32, 14 of 7 in bf16; by `blockwise_loss` 32 and
    29. With a maximum subtracted it is 5 to 15 % more.
    """
    precision, constants = precision_of(users), (bias, masked_positives, masked_candidates)
    spread = float(bias.max() - bias.min()) if len(bias) else math.inf
    if precision == torch.float16 or not spread <= SAFE:  # no room for exponentials
        if owners is not None:
            raise ValueError("owners: give each positive its user where logits spread beyond exponentials")
        return blockwise_loss(
            cross_entropy, users, candidates, positive_logits, *constants, weights, own_logits, prior, power
        )
    relative = weights / weights.max()
    lengths = [each.detach().float().square().sum(1).amax() for each in (users, candidates)]
    highest = 0.0 if prior is None or power is not None else float(prior.lifts.abs().amax())
    loss: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
        users,
        candidates,
        positive_logits,
        own_logits,
        *constants,
        relative,
        prior,
        owners,
        max(1, block_bytes // (padded(len(candidates)) * precision.itemsize)),
        precision,
        float(lengths[0] * lengths[1]) <= max(0.0, SAFE - highest) ** 2,
        power,
    )
    return loss / relative.sum()


class _Softmax(GradientsMadeForward):
    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        candidates: Tensor,
        positive_logits: Tensor,
        own_logits: Tensor | None,
        bias: Tensor,
        masked_positives: Tensor,
        masked_candidates: Tensor,
        weights: Tensor,
        prior: Prior | None,
        owners: Tensor | None,
        block_rows: int,
        precision: torch.dtype,
        is_safe: bool,
        power: float | None,
    ) -> Tensor:
        positive = positive_logits.to(accumulator_of(users))
        shown = None if own_logits is None else own_logits.to(positive.dtype)
        others = positive if shown is None else torch.logaddexp(positive, shown.logsumexp(1))
        with torch.autocast(users.device.type, enabled=False):
            sides: Sides
            if power is None:
                sides = Sides(users, candidates, bias, precision, is_safe, prior)
            else:
                sides = PoweredSides(users, candidates, bias, precision, prior, power)
            of_users = Owned(owners, len(users), block_rows)
            masks = Masks(masked_positives, masked_candidates, len(users), sides.num_columns, block_rows)
            log_sums = torch.empty_like(positive)
            for rows, struck in masks.blocks():
                block, log_scale = sides.exponentials(rows, struck)
                own, log_scale = of_users.positives(rows), log_scale.expand(len(block))
                of_others = of_users.spread(sides.sums(block).log_() + log_scale, rows)
                torch.logaddexp(of_others, others[own], out=log_sums[own])
                if any(ctx.needs_input_grad[:2]):
                    log_factor = of_users.spread(log_scale, rows) - log_sums[own]
                    factor = log_factor.clamp_(max=2 * SAFE).exp_()  # more: all is struck
                    sides.add_gradients(rows, block, of_users.sums(factor * weights[own], rows))
        d_positive = torch.expm1(positive - log_sums) * weights
        d_own = None if shown is None else (shown - log_sums[:, None]).exp_() * weights[:, None]
        ctx.save_for_backward(sides.d_users, sides.d_candidates(), d_positive, d_own)
        ctx.places = (0, 1, 2, 3)
        given = (users, candidates, positive_logits, positive if own_logits is None else own_logits)
        ctx.dtypes = [each.dtype for each in given]
        return ((log_sums - positive) * weights).sum()


def cross_entropy(positive: Tensor, negatives: Tensor) -> Tensor:
    """Return -log of the positive's share of the softmax, [b], of logits [b] and [b, C]; see `PairLoss`."""
    return torch.cat([positive[:, None], negatives], 1).logsumexp(1) - positive
