"""Weighted sums of rows of a table, one for each history, quick in both directions.

Shapes: B histories, L positions, T of them that hold an item, R rows of the table, H width.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

SORTED = (torch.float32, torch.float64)
"""What SciPy sorts: outputs of a tower in bf16 that nothing scales are another kind."""


def weighted_sum(table: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of a table, [B, H].

    Floor: B L H additions, forward, for the gradient of the table and for that of the weights. Measured, one
    core, B = 1024 and 4096, L = 20, H = 64, R = 3,417: .6 and 1.4 ms forward and backward, with
    `embedding_bag`'s own gradient 3.5 and 10 ms (it adds up position by position, and with a `padding_idx`
    leaves its quick kernel forward too), with a gather and a product 10 and 40 ms.

    Args:
        table: [R, H]; row 0 holds zeros.
        positions: [B, L] rows of the table, 0 = nothing there.
        weights: [B, L], 0 where nothing is.
    """
    of_other_kind = table.device.type != "cpu" or table.dtype not in SORTED
    if of_other_kind or torch.compiler.is_compiling():  # an export: plain operators only
        weights = weights.to(table.dtype)
        return embedding_bag(positions, table, mode="sum", padding_idx=0, per_sample_weights=weights)
    summed: Tensor = _WeightedSum.apply(table, positions, weights)  # type: ignore[no-untyped-call]
    return summed


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
        # Without what is not there: of histories up to 300 long three places in four may be empty.
        there = torch.from_numpy(np.flatnonzero(positions.numpy() > 0))
        ends = torch.searchsorted(there, torch.arange(0, positions.numel() + 1, positions.shape[1]))
        rows, ends = positions.flatten().index_select(0, there), ends.to(positions.dtype)
        weights = weights.flatten().index_select(0, there).to(table.dtype)
        ctx.shape = positions.shape
        ctx.save_for_backward(table, there, rows, ends, weights)
        return embedding_bag(rows, table, ends[:-1], mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        table, there, rows, ends, weights = ctx.saved_tensors
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            of_table = _transposed(gradient, rows, ends, weights, len(table))
        if ctx.needs_input_grad[2]:
            of_weights = gradient.new_zeros(ctx.shape)
            of_weights.view(-1).index_copy_(0, there, _products(gradient, table, rows, ends))
        return of_table, None, of_weights


def _products(gradient: Tensor, table: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """Return the product of each gradient [B, H] with the T rows that its history holds, [T].

    A product of matrices of which only some entries are wanted: `embedding_bag`'s own gradient of weights
    takes three times as long, a gather and a sum four times.
    """
    if len(rows) > len(gradient) * len(table):  # more entries than a matrix has
        of_row = gradient.repeat_interleave(ends.diff(), dim=0)
        return (table.index_select(0, rows) * of_row).sum(-1)
    with warnings.catch_warnings():  # once a process: that sparse rows are in beta
        warnings.simplefilter("ignore")
        wanted = torch.sparse_csr_tensor(
            ends,
            rows,
            gradient.new_zeros(len(rows)),
            size=(len(gradient), len(table)),
            check_invariants=False,  # a row may be wanted twice
        )
    found: Tensor = torch.sparse.sampled_addmm(wanted, gradient, table.T, beta=0.0).values()
    return found


def _transposed(gradient: Tensor, rows: Tensor, ends: Tensor, weights: Tensor, num_rows: int) -> Tensor:
    """Return for each row of the table the weighted sum of the gradients [B, H] of the sums it is in, [R, H].

    It is a sum of bags again, once histories are turned into the histories that each row is in: a counting
    sort, whose order is always the same.
    """
    from scipy.sparse import csr_array  # training alone needs it

    parts = (weights.numpy(), rows.numpy(), ends.numpy())
    turned = csr_array(parts, shape=(len(gradient), num_rows)).tocsc()
    found, starts, of_found = (
        torch.from_numpy(each) for each in (turned.indices, turned.indptr[:-1], turned.data)
    )
    return embedding_bag(found, gradient, starts, mode="sum", per_sample_weights=of_found)
