"""Softmax loss and gradients with one pass over the logits between three matrix products.

Shapes: B users, P positives, C negatives, H query negatives, D embedding, b rows of a block, p positives of
these, W columns.
"""

import itertools
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from twotower.model.scoring.link import inverse_slopes, raise_to_power
from twotower.model.scoring.logits import ForwardGradients, Logits, padded, product_dtype, relative, sum_dtype
from twotower.model.towers.item_bias.item_bias import LogPriorOdds

BLOCK_BYTES = 1 << 23  # of logits
LOG2_E = math.log2(math.e)
SAFE = 40.0  # logits up to this need no maximum subtracted: e^40 = 2e17, its inverse and sums fit float32
SAFE_POWER = 8.0  # of scores, up to which they are not divided by their maximum: 10,000^8 = 1e32 fits too


def cross_entropy(positive: Tensor, negatives: Tensor, multiplicity: Tensor) -> Tensor:
    """Return -log of the positive's share of the softmax, [b]; see `Loss.forward`."""
    terms = torch.cat([positive[:, None], negatives + multiplicity.log()], 1)
    return terms.logsumexp(1) - positive


def mean_cross_entropy(logits: Logits, block_bytes: int = BLOCK_BYTES) -> Tensor:
    """Compute `logits.mean(cross_entropy)`, to rounding, in a fraction of the time.

    The logits of a user with several positives are computed once. The exponential (of base 2, which is the
    faster one) is the only pass over the whole matrix besides the three products: corrections and
    multiplicity are factors of the negatives; the division by the sum, and the weights, are factors of the
    users. The maximum is subtracted only if the norms of the embeddings require it.
    """
    users, shared = logits.users, logits.shared
    precision, bias = product_dtype(users), shared.correction + shared.log_multiplicity
    spread = float(bias.max() - bias.min()) if len(bias) else math.inf
    if logits.num_shares == 1:
        if precision == torch.float16 or not spread <= SAFE:  # exponentials might overflow
            return logits.mean(cross_entropy)
        if logits.query_negatives is not None:
            logits = logits.by_positive()
    total: Tensor = _Softmax.apply(  # type: ignore[no-untyped-call]
        logits, block_bytes, logits.users, shared.embeddings, logits.positive, logits.query_negatives
    )
    return total / relative(logits.weights).sum()


def mean_log_sum(logits: Logits, floor: float) -> Tensor:
    """Compute the weighted mean of log(exp(floor) + sum over negatives of odds); see `mean_cross_entropy`."""
    constant = torch.full_like(logits.positive, floor).detach()
    return mean_cross_entropy(replace(logits, positive=constant)) + floor


def _operands(logits: Logits, precision: torch.dtype) -> "ExponentialOperands":
    if logits.power is not None:
        return PowerOperands(logits, precision, logits.power)
    prior, embeddings = logits.shared.prior, (logits.users, logits.shared.embeddings)
    lengths = [each.detach().float().square().sum(-1).amax() for each in embeddings]
    highest = 0.0 if prior is None else float(prior.table.abs().amax())
    is_safe = float(lengths[0] * lengths[1]) <= max(0.0, SAFE - highest) ** 2
    return ExponentialOperands(logits, precision, is_safe)


class ExponentialOperands:
    """Users and negatives in the type of the products, for exponential odds.

    Negatives are the columns of [D, W], zeros after C. With `is_safe`, exponentials cannot overflow, and no
    maximum is subtracted.
    """

    def __init__(self, logits: Logits, precision: torch.dtype, is_safe: bool) -> None:
        users, shared = logits.users.detach(), logits.shared
        negatives, accumulator = shared.embeddings.detach(), sum_dtype(users)
        bias = shared.correction + shared.log_multiplicity
        self.num_negatives, dim = negatives.shape
        self.num_columns = padded(self.num_negatives)
        self.is_safe = is_safe
        self.users, self.low_users = users, self._lowered(users).to(precision)
        self.highest_bias = bias.max().to(accumulator)
        factors = (bias - self.highest_bias).to(accumulator).exp()
        self.columns = self.low_users.new_zeros(dim, self.num_columns)
        self.columns[:, : self.num_negatives] = negatives.T
        self.factors = self.columns.new_zeros(1, self.num_columns)
        self.factors[0, : self.num_negatives] = factors
        self.scaled = self.columns.new_zeros(self.num_columns, dim)
        torch.mul(negatives, factors[:, None], out=self.scaled[: self.num_negatives])
        self.exact_factors = factors
        self.logits = self.columns.new_empty(0)
        self.d_users = torch.empty(users.shape, dtype=accumulator, device=users.device)
        self.d_columns = torch.zeros(self.columns.shape, dtype=accumulator, device=users.device)
        prior = shared.prior
        self.prior = None if prior is None else LogPriorOdds(self._of_prior(prior), prior.moments)

    def _lowered(self, users: Tensor) -> Tensor:
        """Return users whose products with negatives are exponents of 2."""
        return users * LOG2_E

    def _of_prior(self, prior: LogPriorOdds) -> Tensor:
        """Return the prior's addends to these exponents, [T, C]."""
        return (prior.table * LOG2_E).to(self.columns.dtype)

    def exponentials(self, rows: slice, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Return exponentials [b, W], 0 where masked, and the log of their factors, [b] or a scalar."""
        block = self._products(rows)
        flat = block.view(-1)
        if self.prior is not None:
            block[:, : self.num_negatives] += self.prior.table.index_select(0, self.prior.moments[rows])
        flat.index_fill_(0, masked, -torch.inf)
        if self.is_safe:
            return block.exp2_(), self.highest_bias
        block[:, self.num_negatives :] = -torch.inf
        highest = block.amax(1).clamp_(min=torch.finfo(block.dtype).min)
        log_scale = self.highest_bias + highest.to(self.highest_bias.dtype) / LOG2_E  # in higher precision
        return block.sub_(highest[:, None]).exp2_(), log_scale

    def _products(self, rows: slice) -> Tensor:
        """Return the products of users and columns [b, W]."""
        users = self.low_users[rows]
        if self.logits.numel() < len(users) * self.num_columns:
            self.logits = users.new_empty(len(users) * self.num_columns)
        products = self.logits[: len(users) * self.num_columns].view(len(users), self.num_columns)
        return torch.mm(users, self.columns, out=products)

    def sums(self, block: Tensor) -> Tensor:
        """Return the sums of exponentials or powers with their bias, [b]."""
        # A product of two matrices: a product of a matrix and a vector takes three times as long.
        return torch.mm(self.factors.to(block.dtype), block.T)[0].to(self.d_users.dtype)

    def add_gradients(self, rows: slice, block: Tensor, scale: Tensor) -> None:
        """Add the gradients: exponentials times the scales of the rows [b], times the other operand."""
        torch.mul(torch.mm(block, self.scaled), scale[:, None], out=self.d_users[rows])
        users = (self.users[rows] * scale[:, None]).to(block.dtype)
        if block.dtype == self.d_columns.dtype:
            self.d_columns.addmm_(users.T, block)
        else:
            self.d_columns += users.T @ block

    def d_negatives(self) -> Tensor:
        """Return the gradient of the negatives, [C, D]."""
        return self.d_columns.T[: self.num_negatives] * self.exact_factors[:, None]


class PowerOperands(ExponentialOperands):
    """Operands for odds that are powers of scores, with the slope of the link for each score."""

    def __init__(self, logits: Logits, precision: torch.dtype, power: float) -> None:
        self.power = power
        super().__init__(logits, precision, is_safe=True)
        self.log_scale = self.highest_bias - power * math.log(2)
        self.slopes = self.users.new_empty(0)

    def _lowered(self, users: Tensor) -> Tensor:
        """Return users whose products with negatives are added to 1."""
        return users / self.power

    def _of_prior(self, prior: LogPriorOdds) -> Tensor:
        """Return factors of the odds, [T, C]."""
        odds = prior.table.exp() if prior.odds is None else prior.odds
        return odds.to(self.d_users.dtype)

    def exponentials(self, rows: slice, masked: Tensor) -> tuple[Tensor, Tensor]:
        """Return the odds, and store the slopes of the link for `add_gradients`."""
        block = self._products(rows).to(self.d_users.dtype).add_(1)
        self.slopes = inverse_slopes(block)
        block.add_(self.slopes)
        log_scale = self.log_scale
        if self.power > SAFE_POWER:
            block[:, self.num_negatives :] = 0
            block.view(-1).index_fill_(0, masked, 0)
            largest = block.amax(1, keepdim=True).clamp_(min=torch.finfo(block.dtype).tiny)
            block.div_(largest)
            log_scale = log_scale + self.power * largest[:, 0].log()
        block = raise_to_power(block, self.power)
        if self.prior is not None:
            block[:, : self.num_negatives] *= self.prior.table.index_select(0, self.prior.moments[rows])
        block.view(-1).index_fill_(0, masked, 0)
        return block, log_scale

    def add_gradients(self, rows: slice, block: Tensor, scale: Tensor) -> None:
        """Multiply by slopes first; see `ExponentialOperands.add_gradients`."""
        super().add_gradients(rows, block.div_(self.slopes).to(self.columns.dtype), scale)


class _Softmax(ForwardGradients):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Logits,
        block_bytes: int,
        users: Tensor,
        negatives: Tensor,
        positive_logits: Tensor,
        query_logits: Tensor | None,
    ) -> Tensor:
        positive, precision = positive_logits.to(sum_dtype(users)), product_dtype(users)
        block_rows = max(1, block_bytes // (padded(logits.largest_share) * precision.itemsize))
        weights = relative(logits.weights)
        # Training averages the gradients of the shares, but needs their sum.
        gradient_weights = weights * logits.num_shares
        queries = None if query_logits is None else query_logits.to(positive.dtype)
        own_terms = positive if queries is None else torch.logaddexp(positive, queries.logsumexp(1))
        to_user = logits.positive_to_user
        if to_user is None:
            to_user = torch.arange(len(users), device=users.device)
        bounds = torch.arange(0, len(users) + block_rows, block_rows, device=users.device)
        edges = torch.searchsorted(to_user, bounds).tolist()
        with torch.autocast(users.device.type, enabled=False):
            operands = _operands(logits, precision)
            log_sums = torch.empty_like(positive)
            blocks = logits.shared.false_negatives.blocks(len(users), operands.num_columns, block_rows)
            for (rows, masked), (begin, end) in zip(blocks, itertools.pairwise(edges), strict=True):
                block, log_scale = operands.exponentials(rows, masked)
                log_scale = log_scale.expand(len(block))
                of_negatives = logits.log_sums(operands.sums(block).log_() + log_scale)
                own = slice(begin, end)  # the positives of these users
                their_users = to_user[own] - rows.start
                torch.logaddexp(of_negatives[their_users], own_terms[own], out=log_sums[own])
                if any(ctx.needs_input_grad):
                    log_factor = log_scale[their_users] - log_sums[own]
                    factor = log_factor.clamp_(max=2 * SAFE).exp_()  # more: all negatives are masked
                    scale = torch.zeros_like(of_negatives).index_add_(
                        0, their_users, factor * gradient_weights[own]
                    )
                    operands.add_gradients(rows, block, scale)
        d_positive = torch.expm1(positive - log_sums) * weights
        d_query = None if queries is None else (queries - log_sums[:, None]).exp_() * weights[:, None]
        ctx.save_for_backward(operands.d_users, operands.d_negatives(), d_positive, d_query)
        differentiated = users, negatives, positive_logits, query_logits
        ctx.dtypes = [positive.dtype if each is None else each.dtype for each in differentiated]
        return ((log_sums - positive) * weights).sum()
