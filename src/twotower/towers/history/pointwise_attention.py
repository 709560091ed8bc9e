"""Causal attention whose weights are silu(score + bias): each for itself, they sum to nothing in particular.

Shapes: B histories, N heads, L positions, W width of a head, K buckets.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_BYTES = 1 << 20
"""Of weights computed at once."""


def pointwise_attention(
    value: Tensor,
    query: Tensor,
    key: Tensor,
    by_place: Tensor,
    by_bucket: Tensor | None,
    buckets: Tensor | None,
    scale: float,
) -> Tensor:
    """Compute the sum over j <= i of scale silu(q_i k_j + bias_ij) v_j, [B, N, L, W].

    Args:
        value: [B, N, L, W].
        query: [B, N, L, W].
        key: [B, N, L, W].
        by_place: [L, L] a part of the bias.
        by_bucket: [K] another part, by the bucket of a pair of positions; None for none.
        buckets: [B, L, L] int32; None for none.
        scale: of the weights.
    """
    trains = torch.is_grad_enabled() and query.requires_grad
    if torch.compiler.is_compiling() or query.device.type != "cpu" or not trains:
        bias = by_place
        if by_bucket is not None and buckets is not None:
            bias = bias + by_bucket[buckets.long()][:, None]
        weights = functional.silu(query @ key.transpose(-1, -2) + bias) * scale
        return torch.tril(weights).to(value.dtype) @ value
    found: Tensor = _Pointwise.apply(value, query, key, by_place, by_bucket, buckets, scale)  # type: ignore[no-untyped-call]
    return found


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        query: Tensor,
        key: Tensor,
        by_place: Tensor,
        by_bucket: Tensor | None,
        buckets: Tensor | None,
        scale: float,
    ) -> Tensor:
        size, heads, length, width = value.shape
        rows = max(1, BLOCK_BYTES // (heads * length**2 * value.itemsize))
        sides = [each.reshape(size, heads, length, width) for each in (value, query, key)]
        scores = value.new_empty(size, heads, length, length)
        found = torch.empty_like(sides[0])
        place = by_place.to(value.dtype)
        with torch.autocast("cpu", enabled=False):
            for block in _blocks(size, rows):
                of_value, of_query, of_key = (each[block].flatten(0, 1) for each in sides)
                flat = scores[block].flatten(0, 1)
                torch.bmm(of_query, of_key.transpose(1, 2), out=flat)
                if by_bucket is None or buckets is None:
                    scores[block] += place
                else:
                    scores[block] += (place + _looked_up(by_bucket, buckets[block]).to(value.dtype))[:, None]
                weights = functional.silu(flat).mul_(scale).tril_()
                torch.bmm(weights, of_value, out=found[block].flatten(0, 1))
        ctx.save_for_backward(*sides, scores, buckets)
        ctx.scale, ctx.rows = scale, rows
        ctx.places = (by_place.dtype, None if by_bucket is None else (len(by_bucket), by_bucket.dtype))
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *sides, scores, buckets = ctx.saved_tensors
        size, heads, length, _ = scores.shape
        gradient = gradients[0].contiguous()
        slopes = [torch.empty_like(each) for each in sides]
        place_type, of_buckets = ctx.places
        wide = torch.promote_types(scores.dtype, torch.float32)
        of_place = torch.zeros(length, length, dtype=wide)
        of_bucket = None if of_buckets is None else torch.zeros(of_buckets[0], dtype=wide)
        for block in _blocks(size, ctx.rows):
            value, query, key = (each[block].flatten(0, 1) for each in sides)
            of_value, of_query, of_key = (each[block].flatten(0, 1) for each in slopes)
            of_found, score = gradient[block].flatten(0, 1), scores[block].flatten(0, 1)
            share = torch.sigmoid(score)
            weight = (score * share).mul_(ctx.scale).tril_()
            torch.bmm(weight.transpose(1, 2), of_found, out=of_value)
            slope = torch.addcmul(share, weight, 1 - share, value=1 / ctx.scale).mul_(ctx.scale).tril_()
            slope *= torch.bmm(of_found, value.transpose(1, 2))
            torch.bmm(slope, key, out=of_query)
            torch.bmm(slope.transpose(1, 2), query, out=of_key)
            of_pairs = slope.view(-1, heads, length, length).sum(1, dtype=wide)
            of_place += of_pairs.sum(0)
            if of_bucket is not None:
                of_bucket += torch.bincount(
                    buckets[block].flatten(), of_pairs.flatten(), minlength=len(of_bucket)
                ).to(wide)
        found = None if of_bucket is None else of_bucket.to(of_buckets[1])
        return (*slopes, of_place.to(place_type), found, None, None)


def _looked_up(table: Tensor, places: Tensor) -> Tensor:
    return table.index_select(0, places.flatten()).view(places.shape)


def _blocks(size: int, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, size, rows)]
