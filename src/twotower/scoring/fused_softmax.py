"""Softmax loss and gradients with one pass over the logits between three matrix products.

Shapes: B users, P positives, C negatives, H query negatives, D embedding, b rows of a block, W columns.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from twotower.scoring.logits import ForwardGradients, Logits, product_dtype, relative, sum_dtype
from twotower.scoring.masks import padded
from twotower.scoring.operands import ExponentialOperands, PowerOperands
from twotower.scoring.user_positions import UserPositions

BLOCK_BYTES = 1 << 23
"""Size of a block of logits."""
SAFE = 40.0
"""Logits up to this need no maximum subtracted: e^40 = 2e17, its inverse and their sums fit float32."""


def cross_entropy(positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
    """Return -log of the positive's share of the softmax, [b]; see `Loss.forward`."""
    terms = torch.cat([positive[:, None], negatives + multiplicity.log()], 1)
    return terms.logsumexp(1) - positive


def mean_cross_entropy(logits: Logits, block_bytes: int = BLOCK_BYTES) -> Tensor:
    """Compute `logits.mean(cross_entropy)`, to rounding, in a fraction of the time.

    The logits of a user with several positives are computed once: they share the sum over the negatives.

    The exponential is the only pass over the whole matrix besides the three products. Corrections and
    multiplicity are factors of the negatives; the division by the sum, and the weights, are factors of the
    users. The maximum is subtracted only if the norms of the embeddings require it. Base 2 is used because
    torch's exp2 is faster than exp.
    """
    users, shared = logits.users, logits.shared
    precision, bias = product_dtype(users), shared.correction + shared.log_multiplicity
    spread = float(bias.max() - bias.min()) if len(bias) else math.inf
    if precision == torch.float16 or not spread <= SAFE:  # exponentials might overflow
        return logits.mean(cross_entropy)
    if logits.query_negatives is not None:
        logits = logits.by_positive()
    total: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
        logits.users, shared.embeddings, logits.positive, logits.query_negatives, logits, block_bytes
    )
    return total / relative(logits.weights).sum()


def mean_log_sum(logits: Logits, floor: float) -> Tensor:
    """Compute the weighted mean of log(exp(floor) + sum over negatives of odds); see `mean_cross_entropy`."""
    constant = torch.full_like(logits.positive, floor).detach()
    return mean_cross_entropy(replace(logits, positive=constant)) + floor


def _operands(logits: Logits, precision: torch.dtype) -> ExponentialOperands:
    if logits.power is not None:
        return PowerOperands(logits, precision, logits.power)
    prior, embeddings = logits.shared.prior, (logits.users, logits.shared.embeddings)
    lengths = [each.detach().float().square().sum(1).amax() for each in embeddings]
    highest = 0.0 if prior is None else float(prior.table.abs().amax())
    is_safe = float(lengths[0] * lengths[1]) <= max(0.0, SAFE - highest) ** 2
    return ExponentialOperands(logits, precision, is_safe)


class _Softmax(ForwardGradients):
    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        negatives: Tensor,
        positive_logits: Tensor,
        query_logits: Tensor | None,
        logits: Logits,
        block_bytes: int,
    ) -> Tensor:
        positive, precision = positive_logits.to(sum_dtype(users)), product_dtype(users)
        block_rows = max(1, block_bytes // (padded(len(negatives)) * precision.itemsize))
        weights = relative(logits.weights)
        queries = None if query_logits is None else query_logits.to(positive.dtype)
        others = positive if queries is None else torch.logaddexp(positive, queries.logsumexp(1))
        with torch.autocast(users.device.type, enabled=False):
            operands = _operands(logits, precision)
            of_users = UserPositions(logits.positive_to_user, len(users), block_rows)
            log_sums = torch.empty_like(positive)
            blocks = logits.shared.false_negatives.blocks(len(users), operands.num_columns, block_rows)
            for rows, masked in blocks:
                block, log_scale = operands.exponentials(rows, masked)
                own, log_scale = of_users.positives(rows), log_scale.expand(len(block))
                of_others = of_users.spread(operands.sums(block).log_() + log_scale, rows)
                torch.logaddexp(of_others, others[own], out=log_sums[own])
                if any(ctx.needs_input_grad[:2]):
                    log_factor = of_users.spread(log_scale, rows) - log_sums[own]
                    factor = log_factor.clamp_(max=2 * SAFE).exp_()  # more: all negatives are masked
                    operands.add_gradients(rows, block, of_users.sums(factor * weights[own], rows))
        d_positive = torch.expm1(positive - log_sums) * weights
        d_query = None if queries is None else (queries - log_sums[:, None]).exp_() * weights[:, None]
        ctx.save_for_backward(operands.d_users, operands.d_negatives(), d_positive, d_query)
        ctx.positions = (0, 1, 2, 3)
        given = (users, negatives, positive_logits, positive if query_logits is None else query_logits)
        ctx.dtypes = [each.dtype for each in given]
        return ((log_sums - positive) * weights).sum()
