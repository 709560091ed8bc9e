"""Encoders with embedding tables: one row per value, or the mean over a bag of tokens.

Shapes: N bags, W width, T tokens in all bags, V rows of the table, D embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag
from torch.optim import Optimizer


class DividedTable(nn.Module, ABC):
    """An embedding table that several processes divide; each process holds the rows `own`.

    Attributes:
        weight: stands for the table in the optimizer.
        num_embeddings: rows of the whole table.
    """

    weight: nn.Parameter
    num_embeddings: int
    own: slice
    sparse: bool = True

    @abstractmethod
    def local_rows(self) -> Tensor:
        """Return the rows of this process, to be changed by all processes."""

    @abstractmethod
    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Read the learning rate of an optimizer that holds `weight`, and store the state in it."""


NewTable = Callable[[int, int, float], DividedTable]
"""(number of rows, width, standard deviation of the initial rows) -> table."""


class LookupEncoder(nn.Module):
    """Rows [..., 1] -> their embeddings [..., dim]; row 0 (unknown) is one of `num_rows`, initially zeros.

    In training, each row is replaced by row 0 with probability `dropout`, so that the unknown row learns to
    represent unseen entities. `new_table` builds a table that
    several processes divide.

    Reference: Volkovs et al., DropoutNet: Addressing Cold Start in Recommender Systems, NIPS 2017, section 4.
    """

    table: nn.Embedding | DividedTable

    def __init__(
        self,
        num_rows: int,
        dim: int,
        dropout: float = 0.0,
        sparse: bool = False,
        new_table: NewTable | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        if new_table is not None:
            self.table = new_table(num_rows, dim, dim**-0.5)
            return
        self.table = nn.Embedding(num_rows, dim, sparse=sparse)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        with torch.no_grad():
            self.table.weight[0] = 0

    def forward(self, rows: Tensor) -> Tensor:
        """Embed rows [..., 1] -> [..., dim]."""
        rows = rows.squeeze(-1)
        if self.training and self.dropout > 0:
            dropped = torch.rand(rows.shape, device=rows.device) < self.dropout
            rows = rows.masked_fill(dropped, 0)
        embeddings: Tensor = self.table(rows)
        return embeddings

    def local_table(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the table of this process and the positions of rows [n] in it; -1 = none, as for row 0."""
        if isinstance(self.table, nn.Embedding):
            return self.table.weight, torch.where(rows > 0, rows, -1)
        own = self.table.own
        is_own = (rows > 0) & (rows >= own.start) & (rows < own.stop)
        return self.table.local_rows(), torch.where(is_own, rows - own.start, -1)


class BagEncoder(nn.Module):
    """Rows [..., W], 0 = padding -> the mean of their embeddings [..., D], zeros for an empty bag.

    Rows after `num_first` were added by a warm start: they add to the sum but not to its divisor, unless a
    bag has no other rows, so that a new row of zeros changes no embedding.

    The plans of the last two inputs are cached, because the catalogue is encoded at every training step:
    whole for histories, and its trained part as candidates.
    """

    def __init__(self, num_rows: int, dim: int, num_first: int) -> None:
        super().__init__()
        self.num_first = num_first
        self.weight = nn.Parameter(torch.empty(num_rows, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)
        with torch.no_grad():
            self.weight[0] = 0
        self._planned: list[tuple[Tensor, int, BagPlan]] = []

    def forward(self, encoded: Tensor) -> Tensor:
        """Embed bags [..., W] -> [..., D]."""
        encoded_NW = encoded.reshape(-1, encoded.shape[-1])
        if torch.compiler.is_compiling():  # an export: plain operators only
            embeddings = self._plain(encoded_NW)
        else:
            embeddings = BagSum.apply(self.weight, self._plan(encoded_NW))  # type: ignore[no-untyped-call]
        return embeddings.reshape(*encoded.shape[:-1], self.weight.shape[1])

    def _plain(self, encoded_NW: Tensor) -> Tensor:
        weights_NW = _mean_weights(encoded_NW, self.num_first).to(self.weight.dtype)
        return torch.einsum("nw,nwd->nd", weights_NW, embedding(encoded_NW, self.weight))

    def _plan(self, encoded_NW: Tensor) -> "BagPlan":
        if encoded_NW.is_inference():  # without a version, a change in place is not detected
            return BagPlan(encoded_NW, len(self.weight), self.num_first)
        for bags, version, plan in self._planned:
            if encoded_NW._version == version and encoded_NW.is_set_to(bags):
                return plan
        plan = BagPlan(encoded_NW, len(self.weight), self.num_first)
        self._planned = [*self._planned[-1:], (encoded_NW, encoded_NW._version, plan)]
        return plan


class BagPlan:
    """The rows that each bag averages, and the bags that average each row; 0 in `encoded_NW` is padding."""

    def __init__(self, encoded_NW: Tensor, num_rows: int, num_first: int) -> None:
        present = encoded_NW != 0
        counts = present.sum(1)
        self.num_rows = num_rows
        self.tokens_T = encoded_NW[present]
        bags_N = torch.arange(len(encoded_NW), dtype=encoded_NW.dtype, device=encoded_NW.device)
        self.bags_T = torch.repeat_interleave(bags_N, counts)
        self.weights_T = _mean_weights(encoded_NW, num_first)[present]
        self.bag_starts_N = _starts(counts, encoded_NW.dtype)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bags [T] ordered by row, where each row starts [V], and the weights [T] in that order."""
        order = torch.argsort(self.tokens_T, stable=True)
        counts_V = torch.bincount(self.tokens_T, minlength=self.num_rows)
        return self.bags_T[order], _starts(counts_V, self.tokens_T.dtype), self.weights_T[order]


class BagSum(torch.autograd.Function):
    """Sums of table rows by a plan; the gradient of the table is a sum over the bags of each row."""

    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, plan: BagPlan) -> Tensor:
        """Compute [N, D]."""
        ctx.plan = plan
        return _sum(table_VD, plan.tokens_T, plan.bag_starts_N, plan.weights_T)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradient of the table [V, D] from the gradient of the bags [N, D]."""
        return _sum(grad_outputs[0], *ctx.plan.transposed), None


def _mean_weights(encoded_NW: Tensor, num_first: int) -> Tensor:
    """Return the weights of rows [N, W]: 1 over the number of first rows of the bag, or of all its rows."""
    present = encoded_NW != 0
    first_N1 = (present & (encoded_NW <= num_first)).sum(1, keepdim=True)
    counts_N1 = torch.where(first_N1 > 0, first_N1, present.sum(1, keepdim=True))
    return present.to(torch.float32) / counts_N1.clamp(min=1)


def _sum(source: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return embedding_bag(rows, source, starts, mode="sum", per_sample_weights=weights.to(source.dtype))


def _starts(counts: Tensor, dtype: torch.dtype) -> Tensor:
    return (counts.cumsum(0) - counts).to(dtype)
