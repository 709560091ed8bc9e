"""Collective operations of the processes that train together; with a single process they change nothing.

A process is a rank of torch's default process group. Every rank calls the same operations in the same order.

Shapes: n_r rows of rank r.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

ALIGNMENT = 8
"""Bytes of the largest element; a view of bytes as elements begins at a multiple of their size."""


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Return whether this is rank 0, which alone writes files."""
    return rank() == 0


def share(number: int) -> slice:
    """Return this rank's share of `number` rows: contiguous, of the same size for all, up to one row."""
    size = world_size()
    return slice(number * rank() // size, number * (rank() + 1) // size)


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows [n_r, ...] of all ranks, in order; the gradient returns to the rank of a row."""
    return all_gather_rows(rows)[0]


def all_gather_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return `gather_rows` of each tensor; all are sent in one exchange, which is faster than several."""
    if world_size() == 1:
        return tensors
    gathered: tuple[Tensor, ...] = _GatherRows.apply(*tensors)  # type: ignore[no-untyped-call]
    return gathered


def log_sum_over_ranks(values: Tensor) -> Tensor:
    """Return the log of the sum of exponentials of a tensor over all ranks, without a gradient."""
    return torch.stack(_gathered(values)).logsumexp(0)


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks, without a gradient."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def broadcast_json(value: Any) -> Any:
    """Broadcast a JSON value from rank 0."""
    if world_size() == 1:
        return value
    content = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    if not is_first():
        content = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0)
    return json.loads(bytes(content.tolist()))


def broadcast_tensor(compute: Callable[[], Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor on the CPU that rank 0 computes, of a shape and a type that all ranks know."""
    if world_size() == 1:
        return compute()
    values = compute().contiguous() if is_first() else torch.empty(*shape, dtype=dtype)
    dist.broadcast(values, 0)
    return values


def wait_for_all() -> None:
    """Return after every rank has called it."""
    if world_size() > 1:
        dist.barrier()


def _gathered(values: Tensor) -> list[Tensor]:
    """Return the tensor of each rank; all have the same shape."""
    received = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(received, values)
    return received


def _places(numbers: Sequence[int], tensors: Sequence[Tensor]) -> list[slice]:
    """Return where rows of each tensor are among the bytes of a rank; each place is aligned."""
    places, begin = [], 0
    for number, each in zip(numbers, tensors, strict=True):
        end = begin + number * math.prod(each.shape[1:]) * each.itemsize
        places.append(slice(begin, end))
        begin = -(-end // ALIGNMENT) * ALIGNMENT
    return places


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        device = tensors[0].device
        counts = torch.stack(_gathered(torch.tensor([*map(len, tensors)], device=device)))  # [ranks, T]
        places = [_places(numbers, tensors) for numbers in counts.tolist()]
        # All ranks send equally many bytes; the rest is padding.
        sent = torch.zeros(max(each[-1].stop for each in places), dtype=torch.uint8, device=device)
        for place, each in zip(places[rank()], tensors, strict=True):
            sent[place].view(each.dtype).copy_(each.flatten())
        received, found, ends = _gathered(sent), [], counts.cumsum(0)[[rank(), -1]].tolist()
        for each, total, *of_ranks in zip(tensors, ends[1], *places, strict=True):
            rows = [
                content[place].view(each.dtype) for content, place in zip(received, of_ranks, strict=True)
            ]
            found.append(torch.cat(rows).view(total, *each.shape[1:]))
        ctx.own = [slice(end - len(each), end) for end, each in zip(ends[0], tensors, strict=True)]
        constant = [each for each, needs in zip(found, ctx.needs_input_grad, strict=True) if not needs]
        ctx.mark_non_differentiable(*constant)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = [each for each, needs in zip(gradients, ctx.needs_input_grad, strict=True) if needs]
        total = torch.cat([each.flatten() for each in needed])
        dist.all_reduce(total)
        sums = iter(total.split([each.numel() for each in needed]))
        return tuple(
            next(sums).view_as(each)[own].to(each.dtype) if needs else None
            for each, own, needs in zip(gradients, ctx.own, ctx.needs_input_grad, strict=True)
        )
