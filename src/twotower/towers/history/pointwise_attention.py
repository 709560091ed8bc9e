"""Causal attention with pointwise weights silu(score + bias), without a softmax.

Shapes: B histories, N heads, L positions, W width of a head, K buckets.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_BYTES = 1 << 20
"""Size of a block of weights."""


def pointwise_attention(
    value: Tensor,
    query: Tensor,
    key: Tensor,
    by_distance: Tensor,
    by_bucket: Tensor | None,
    buckets: Tensor | None,
    scale: float,
) -> Tensor:
    """Compute the sum over j <= i of scale silu(q_i k_j + bias_ij) v_j, [B, N, L, W].

    Args:
        value: [B, N, L, W].
        query: [B, N, L, W].
        key: [B, N, L, W].
        by_distance: [L, L] bias by distance of the positions.
        by_bucket: [K] bias by time bucket of the positions; optional.
        buckets: [B, L, L] int32; optional.
        scale: factor of the weights.
    """
    trains = torch.is_grad_enabled() and query.requires_grad
    if torch.compiler.is_compiling() or query.device.type != "cpu" or not trains:
        bias = by_distance
        if by_bucket is not None and buckets is not None:
            bias = bias + by_bucket[buckets.long()][:, None]
        weights = functional.silu(query @ key.transpose(-1, -2) + bias) * scale
        return torch.tril(weights).to(value.dtype) @ value
    output: Tensor = _Pointwise.apply(value, query, key, by_distance, by_bucket, buckets, scale)  # type: ignore[no-untyped-call]
    return output


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        query: Tensor,
        key: Tensor,
        by_distance: Tensor,
        by_bucket: Tensor | None,
        buckets: Tensor | None,
        scale: float,
    ) -> Tensor:
        size, heads, length, width = value.shape
        rows = max(1, BLOCK_BYTES // (heads * length**2 * value.itemsize))
        operands = [each.reshape(size, heads, length, width) for each in (value, query, key)]
        scores = value.new_empty(size, heads, length, length)
        output = torch.empty_like(operands[0])
        distance = by_distance.to(value.dtype)
        with torch.autocast("cpu", enabled=False):
            for block in _blocks(size, rows):
                of_value, of_query, of_key = (each[block].flatten(0, 1) for each in operands)
                flat = scores[block].flatten(0, 1)
                torch.bmm(of_query, of_key.transpose(1, 2), out=flat)
                if by_bucket is None or buckets is None:
                    scores[block] += distance
                else:
                    scores[block] += (distance + _look_up(by_bucket, buckets[block]).to(value.dtype))[:, None]
                weights = functional.silu(flat).mul_(scale).tril_()
                torch.bmm(weights, of_value, out=output[block].flatten(0, 1))
        ctx.save_for_backward(*operands, scores, buckets)
        ctx.scale, ctx.rows = scale, rows
        ctx.bias_types = (by_distance.dtype, None if by_bucket is None else (len(by_bucket), by_bucket.dtype))
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *operands, scores, buckets = ctx.saved_tensors
        size, heads, length, _ = scores.shape
        gradient = gradients[0].contiguous()
        gradients_of = [torch.empty_like(each) for each in operands]
        distance_type, bucket_type = ctx.bias_types
        wide = torch.promote_types(scores.dtype, torch.float32)
        of_distance = torch.zeros(length, length, dtype=wide)
        of_bucket = None if bucket_type is None else torch.zeros(bucket_type[0], dtype=wide)
        for block in _blocks(size, ctx.rows):
            value, query, key = (each[block].flatten(0, 1) for each in operands)
            of_value, of_query, of_key = (each[block].flatten(0, 1) for each in gradients_of)
            of_output, score = gradient[block].flatten(0, 1), scores[block].flatten(0, 1)
            share = torch.sigmoid(score)
            weight = (score * share).mul_(ctx.scale).tril_()
            torch.bmm(weight.transpose(1, 2), of_output, out=of_value)
            slope = torch.addcmul(share, weight, 1 - share, value=1 / ctx.scale).mul_(ctx.scale).tril_()
            slope *= torch.bmm(of_output, value.transpose(1, 2))
            torch.bmm(slope, key, out=of_query)
            torch.bmm(slope.transpose(1, 2), query, out=of_key)
            of_pairs = slope.view(-1, heads, length, length).sum(1, dtype=wide)
            of_distance += of_pairs.sum(0)
            if of_bucket is not None:
                of_bucket += torch.bincount(
                    buckets[block].flatten(), of_pairs.flatten(), minlength=len(of_bucket)
                ).to(wide)
        bucket_gradient = None if of_bucket is None else of_bucket.to(bucket_type[1])
        return (*gradients_of, of_distance.to(distance_type), bucket_gradient, None, None)


def _look_up(table: Tensor, positions: Tensor) -> Tensor:
    return table.index_select(0, positions.flatten()).view(positions.shape)


def _blocks(size: int, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, size, rows)]
