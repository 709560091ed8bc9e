"""Causal attention, fast for the short sequences of histories.

Shapes: B histories, N heads, L positions, W width of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_BYTES = 1 << 20
"""Size of a block of weights, chosen to fit into the cache."""


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Let every position attend to itself and earlier positions, [B, N, L, W].

    Calls the fused kernel of torch, except in bf16 training on a CPU, where its backward pass is slow. The
    weights are stored for the backward pass then.

    Args:
        query: [B, N, L, W].
        key: [B, N, L, W].
        value: [B, N, L, W].
    """
    trains = torch.is_grad_enabled() and query.requires_grad
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or not trains:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    output: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return output


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        shape = given[0].shape
        query, key, value = (each.reshape(-1, *shape[2:]) for each in given)
        size, length, width = query.shape
        mask = torch.full((length, length), -torch.inf, dtype=query.dtype).triu(1)
        weights, output = query.new_empty(size, length, length), torch.empty_like(value)
        ctx.scale, ctx.rows = width**-0.5, max(1, BLOCK_BYTES // (length**2 * query.itemsize))
        for block in _blocks(size, ctx.rows):
            scores = torch.baddbmm(mask, query[block], key[block].transpose(1, 2), alpha=ctx.scale)
            torch.softmax(scores, -1, out=weights[block])
            torch.bmm(weights[block], value[block], out=output[block])
        ctx.save_for_backward(query, key, value, weights)
        return output.view(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        query, key, value, weights = ctx.saved_tensors
        shape = gradients[0].shape
        gradient = gradients[0].reshape(value.shape)
        of_query, of_key, of_value = (torch.empty_like(each) for each in (query, key, value))
        for block in _blocks(len(query), ctx.rows):
            weight = weights[block]
            torch.bmm(weight.transpose(1, 2), gradient[block], out=of_value[block])
            of_weight = torch.bmm(gradient[block], value[block].transpose(1, 2))
            along = (of_weight * weight).sum(-1, keepdim=True)
            of_score = of_weight.sub_(along).mul_(weight).mul_(ctx.scale)
            torch.bmm(of_score, key[block], out=of_query[block])
            torch.bmm(of_score.transpose(1, 2), query[block], out=of_key[block])
        return tuple(each.view(shape) for each in (of_query, of_key, of_value))


def _blocks(size: int, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, size, rows)]
