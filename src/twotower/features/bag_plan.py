"""A weighted sum of table rows for each bag, quick in both directions.

Shapes: N bags, W width, T tokens in all bags, V rows of the table, D embedding.
"""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import embedding_bag


class BagPlan:
    """Which rows each bag sums and with what weights, and for each row, which bags it is summed into.

    Args:
        encoded_NW: integer rows, 0 = padding.
        token_weights_V: weight of each row; a bag's weights are scaled to sum to 1. Weight 0 for row 0.
    """

    def __init__(self, encoded_NW: Tensor, token_weights_V: Tensor) -> None:
        present = encoded_NW != 0
        counts = present.sum(1)
        self.num_bags = len(encoded_NW)
        self.num_rows = len(token_weights_V)
        self.tokens_T = encoded_NW[present]
        self.bags_T = torch.repeat_interleave(
            torch.arange(self.num_bags, dtype=encoded_NW.dtype, device=encoded_NW.device), counts
        )
        weights_NW = token_weights_V[encoded_NW]
        totals_N1 = weights_NW.sum(1, keepdim=True)
        self.weights_T = (weights_NW / totals_N1)[present]
        self.bag_starts_N = _starts(counts, encoded_NW.dtype)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bags [T] ordered by row, where each row starts [V], and the weights [T] in that order."""
        order = torch.argsort(self.tokens_T, stable=True)
        counts_V = torch.bincount(self.tokens_T, minlength=self.num_rows)
        return self.bags_T[order], _starts(counts_V, self.tokens_T.dtype), self.weights_T[order]


class BagSum(torch.autograd.Function):
    """Sum table rows as planned; the gradient of the table is itself a bag sum, over the bags of each row."""

    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, plan: BagPlan) -> Tensor:
        """Compute [N, D]."""
        ctx.plan = plan
        return _sum(table_VD, plan.tokens_T, plan.bag_starts_N, plan.weights_T)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Any) -> Any:
        """Compute the gradient of the table [V, D] from that of the bags [N, D]."""
        plan: BagPlan = ctx.plan  # type: ignore[attr-defined]
        return _sum(grad_outputs[0], *plan.transposed), None


def _sum(source: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return embedding_bag(rows, source, starts, mode="sum", per_sample_weights=weights.to(source.dtype))


def _starts(counts: Tensor, dtype: torch.dtype) -> Tensor:
    return (counts.cumsum(0) - counts).to(dtype)
