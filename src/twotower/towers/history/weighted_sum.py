"""Weighted sums of table rows, one per history, with a fast backward pass.

Shapes: B histories, L positions, T items in all histories, R rows of the table, H width.
"""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

SORTED = (torch.float32, torch.float64)
"""Types that SciPy sorts; the output of a tower may be bf16."""


def weighted_sum(table: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of a table, [B, H].

    On a CPU several times faster than the gradient of `embedding_bag`, which adds position by position.

    Args:
        table: [R, H]; row 0 holds zeros.
        positions: [B, L] rows of the table, 0 = padding.
        weights: [B, L], 0 at padding.
    """
    falls_back = table.device.type != "cpu" or table.dtype not in SORTED
    if falls_back or torch.compiler.is_compiling():  # an export: plain operators only
        weights = weights.to(table.dtype)
        return embedding_bag(positions, table, mode="sum", padding_idx=0, per_sample_weights=weights)
    summed: Tensor = _WeightedSum.apply(table, positions, weights)  # type: ignore[no-untyped-call]
    return summed


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
        # Without padding, which can be most of a batch.
        items = torch.from_numpy(np.flatnonzero(positions.numpy() > 0))
        ends = torch.searchsorted(items, torch.arange(0, positions.numel() + 1, positions.shape[1]))
        rows, ends = positions.flatten().index_select(0, items), ends.to(positions.dtype)
        weights = weights.flatten().index_select(0, items).to(table.dtype)
        ctx.shape = positions.shape
        ctx.save_for_backward(table, items, rows, ends, weights)
        return embedding_bag(rows, table, ends[:-1], mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        table, items, rows, ends, weights = ctx.saved_tensors
        of_table = of_weights = None
        if ctx.needs_input_grad[0]:
            of_table = _transposed(gradient, rows, ends, weights, len(table))
        if ctx.needs_input_grad[2]:
            of_weights = gradient.new_zeros(ctx.shape)
            of_weights.view(-1).index_copy_(0, items, _products(gradient, table, rows, ends))
        return of_table, None, of_weights


def _products(gradient: Tensor, table: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    """Return the dot product of each gradient [B, H] with the rows of its history, [T].

    A sampled matrix product: a third of the time of `embedding_bag`'s gradient of the weights.
    """
    if len(rows) > len(gradient) * len(table):  # more entries than the full product
        of_row = gradient.repeat_interleave(ends.diff(), dim=0)
        return (table.index_select(0, rows) * of_row).sum(-1)
    with warnings.catch_warnings():  # torch warns that sparse CSR is in beta
        warnings.simplefilter("ignore")
        pattern = torch.sparse_csr_tensor(
            ends,
            rows,
            gradient.new_zeros(len(rows)),
            size=(len(gradient), len(table)),
            check_invariants=False,  # a row may occur twice
        )
    products: Tensor = torch.sparse.sampled_addmm(pattern, gradient, table.T, beta=0.0).values()
    return products


def _transposed(gradient: Tensor, rows: Tensor, ends: Tensor, weights: Tensor, num_rows: int) -> Tensor:
    """Return the gradient of the table [R, H]: for each row the weighted sum of gradients [B, H].

    Computed as a sum of bags over the transposed sparse matrix; its order is deterministic.
    """
    from scipy.sparse import csr_array  # needed in training only

    parts = (weights.numpy(), rows.numpy(), ends.numpy())
    transposed = csr_array(parts, shape=(len(gradient), num_rows)).tocsc()
    histories, starts, transposed_weights = (
        torch.from_numpy(each) for each in (transposed.indices, transposed.indptr[:-1], transposed.data)
    )
    return embedding_bag(histories, gradient, starts, mode="sum", per_sample_weights=transposed_weights)
