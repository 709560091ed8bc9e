"""The operands of the matrix products of a softmax, and their gradients.

Shapes: B users, C negatives, D embedding, b rows of a block, W columns of a block.
"""

import math

import torch
from torch import Tensor

from twotower.scoring.link import inverse_slopes, raise_to_power
from twotower.scoring.logits import Logits, sum_dtype
from twotower.scoring.masks import padded
from twotower.towers.item_bias.item_bias import LogPriorOdds

LOG2_E = math.log2(math.e)


class ExponentialOperands:
    """Users and negatives in the type of the products, for exponential odds.

    Negatives are the columns of [D, W]; columns after C are zeros.

    Args:
        logits: of the batch.
        precision: type of the products.
        is_safe: exponentials cannot overflow, so that no maximum is subtracted.
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
        users = self.low_users[rows]
        if self.logits.numel() < len(users) * self.num_columns:
            self.logits = users.new_empty(len(users) * self.num_columns)
        flat = self.logits[: len(users) * self.num_columns]
        block = flat.view(len(users), self.num_columns)
        torch.mm(users, self.columns, out=block)
        if self.prior is not None:
            block[:, : self.num_negatives] += self.prior.table.index_select(0, self.prior.moments[rows])
        flat.index_fill_(0, masked, -torch.inf)
        if self.is_safe:
            return block.exp2_(), self.highest_bias
        block[:, self.num_negatives :] = -torch.inf
        highest = block.amax(1).clamp_(min=torch.finfo(block.dtype).min)
        log_scale = self.highest_bias + highest.to(self.highest_bias.dtype) / LOG2_E  # in higher precision
        return block.sub_(highest[:, None]).exp2_(), log_scale

    def sums(self, block: Tensor) -> Tensor:
        """Return the sums of exponentials with their bias, [b]."""
        # A product of two matrices: that of a matrix and a vector takes three times as long.
        return torch.mm(self.factors, block.T)[0].to(self.d_users.dtype)

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
        block = torch.mm(self.low_users[rows], self.columns).to(self.d_users.dtype).add_(1)
        self.slopes = inverse_slopes(block)
        block.add_(self.slopes)
        block = raise_to_power(block, self.power)
        if self.prior is not None:
            block[:, : self.num_negatives] *= self.prior.table.index_select(0, self.prior.moments[rows])
        block.view(-1).index_fill_(0, masked, 0)
        return block, self.log_scale

    def sums(self, block: Tensor) -> Tensor:
        """Return the sums with their bias; see `ExponentialOperands.sums`."""
        return torch.mm(self.factors.to(block.dtype), block.T)[0]

    def add_gradients(self, rows: slice, block: Tensor, scale: Tensor) -> None:
        """Multiply by slopes first; see `ExponentialOperands.add_gradients`."""
        super().add_gradients(rows, block.div_(self.slopes).to(self.columns.dtype), scale)
