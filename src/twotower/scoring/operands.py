"""What the two sides of a softmax's products are multiplied, exponentiated and differentiated with.

Shapes: C candidates, D embedding, b rows of a block, W columns of a block.
"""

import math

import torch
from torch import Tensor

from twotower.losses.kernels import powers
from twotower.losses.kernels.blockwise import accumulator_of
from twotower.losses.kernels.masks import padded
from twotower.towers.item_bias.item_bias import Prior

LOG2_E = math.log2(math.e)


class Sides:
    """The two sides of the products in the precision they run in, and the gradients that gather.

    Candidates are the columns of [D, W], those behind C zeros that count for nothing.
    """

    def __init__(
        self,
        users: Tensor,
        candidates: Tensor,
        bias: Tensor,
        precision: torch.dtype,
        is_safe: bool,
        prior: Prior | None,
    ) -> None:
        accumulator = accumulator_of(users)
        self.num_candidates, dim = candidates.shape
        self.num_columns = padded(self.num_candidates)
        self.is_safe = is_safe
        self.users, self.low_users = users, self._lowered(users).to(precision)
        self.highest_bias = bias.max().to(accumulator)
        factors = (bias - self.highest_bias).to(accumulator).exp()
        self.columns = self.low_users.new_zeros(dim, self.num_columns)
        self.columns[:, : self.num_candidates] = candidates.T
        self.factors = self.columns.new_zeros(1, self.num_columns)
        self.factors[0, : self.num_candidates] = factors
        self.scaled = self.columns.new_zeros(self.num_columns, dim)
        torch.mul(candidates, factors[:, None], out=self.scaled[: self.num_candidates])
        self.exact_factors = factors
        self.logits = self.columns.new_empty(0)
        self.d_users = torch.empty(users.shape, dtype=accumulator, device=users.device)
        self.d_columns = torch.zeros(self.columns.shape, dtype=accumulator, device=users.device)
        self.prior = None if prior is None else Prior(self._of_prior(prior), prior.moments)

    def _lowered(self, users: Tensor) -> Tensor:
        """Return users whose products with candidates are exponents of 2."""
        return users * LOG2_E

    def _of_prior(self, prior: Prior) -> Tensor:
        """Return what a prior does to such exponents, [T, C]."""
        return (prior.lifts * LOG2_E).to(self.columns.dtype)

    def exponentials(self, rows: slice, struck: Tensor) -> tuple[Tensor, Tensor]:
        """Return [b, W], 0 where struck, and the log of what they are to be multiplied with, [b] or one."""
        users = self.low_users[rows]
        if self.logits.numel() < len(users) * self.num_columns:
            self.logits = users.new_empty(len(users) * self.num_columns)
        flat = self.logits[: len(users) * self.num_columns]
        block = flat.view(len(users), self.num_columns)
        torch.mm(users, self.columns, out=block)
        if self.prior is not None:
            block[:, : self.num_candidates] += self.prior.lifts.index_select(0, self.prior.moments[rows])
        flat.index_fill_(0, struck, -torch.inf)
        if self.is_safe:
            return block.exp2_(), self.highest_bias
        block[:, self.num_candidates :] = -torch.inf
        highest = block.amax(1).clamp_(min=torch.finfo(block.dtype).min)
        log_scale = self.highest_bias + highest.to(self.highest_bias.dtype) / LOG2_E  # not rounded once more
        return block.sub_(highest[:, None]).exp2_(), log_scale

    def sums(self, block: Tensor) -> Tensor:
        """Return the sums of exponentials with their bias, [b]."""
        # Of this form: a product of a matrix and a vector takes three times as long.
        return torch.mm(self.factors, block.T)[0].to(self.d_users.dtype)

    def add_gradients(self, rows: slice, block: Tensor, scale: Tensor) -> None:
        """Multiply exponentials by the rows' scales [b], which makes them gradients, with either side."""
        torch.mul(torch.mm(block, self.scaled), scale[:, None], out=self.d_users[rows])
        users = (self.users[rows] * scale[:, None]).to(block.dtype)
        if block.dtype == self.d_columns.dtype:
            self.d_columns.addmm_(users.T, block)
        else:
            self.d_columns += users.T @ block

    def d_candidates(self) -> Tensor:
        """Return the gradient of the candidates, [C, D]."""
        return self.d_columns.T[: self.num_candidates] * self.exact_factors[:, None]


class PoweredSides(Sides):
    """Powers of the products instead of exponentials: no exponential at all, and a slope beside each."""

    def __init__(
        self,
        users: Tensor,
        candidates: Tensor,
        bias: Tensor,
        precision: torch.dtype,
        prior: Prior | None,
        power: float,
    ) -> None:
        self.power = power
        super().__init__(users, candidates, bias, precision, True, prior)
        self.log_scale = self.highest_bias - power * math.log(2)
        self.slopes = users.new_empty(0)

    def _lowered(self, users: Tensor) -> Tensor:
        """Return users whose products with candidates are added to 1."""
        return users / self.power

    def _of_prior(self, prior: Prior) -> Tensor:
        """Return factors of the odds, [T, C]."""
        odds = prior.lifts.exp() if prior.odds is None else prior.odds
        return odds.to(self.d_users.dtype)

    def exponentials(self, rows: slice, struck: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exponentials of linked logits; keeps their slopes for `add_gradients`."""
        block = torch.mm(self.low_users[rows], self.columns).to(self.d_users.dtype).add_(1)
        self.slopes = powers.radii(block)
        block.add_(self.slopes)
        block = powers.raised(block, self.power)
        if self.prior is not None:
            block[:, : self.num_candidates] *= self.prior.lifts.index_select(0, self.prior.moments[rows])
        block.view(-1).index_fill_(0, struck, 0)
        return block, self.log_scale

    def sums(self, block: Tensor) -> Tensor:
        """Return the sums with their bias; see `Sides.sums`."""
        return torch.mm(self.factors.to(block.dtype), block.T)[0]

    def add_gradients(self, rows: slice, block: Tensor, scale: Tensor) -> None:
        """Multiply by slopes first; see `Sides.add_gradients`."""
        super().add_gradients(rows, block.div_(self.slopes).to(self.columns.dtype), scale)
