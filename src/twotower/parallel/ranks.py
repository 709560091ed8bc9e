"""Collective operations of the processes that train together; with a single process they change nothing.

A process is a rank of torch's default process group. Every rank calls the same operations in the same order.

Shapes: n_r rows of rank r.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


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


class Share(NamedTuple):
    """This rank's rows of a batch, at least one.

    Attributes:
        rows: contiguous.
        size: number of rows of all ranks.
        weight: factor of the weights of the rows; 0 if the first row stands in for a rank without any.
    """

    rows: slice
    size: int
    weight: float = 1.0

    @classmethod
    def of(cls, size: int) -> "Share":
        """Return this rank's share of `size` rows."""
        own = share(size)
        return cls(own, size) if own.start < own.stop else cls(slice(0, 1), size, 0.0)


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows [n_r, ...] of all ranks, in order; the gradient returns to the rank of a row."""
    if world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def first_row(number: int) -> int:
    """Return the number of rows of the ranks before this one, which has `number` rows."""
    return sum(_numbers(number, torch.device("cpu"))[: rank()])


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


def from_first(value: Any) -> Any:
    """Return the JSON value of rank 0; that of other ranks is ignored."""
    if world_size() == 1:
        return value
    content = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0)
    if not is_first():
        content = torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0)
    return json.loads(bytes(content.tolist()))


def tensor_from_first(compute: Callable[[], Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
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


def _numbers(number: int, device: torch.device) -> list[int]:
    """Return the number of each rank."""
    numbers: list[int] = torch.cat(_gathered(torch.tensor([number], device=device))).tolist()
    return numbers


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = _numbers(len(rows), rows.device)
        # All ranks send equally many rows; the rest is padding.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        begin = sum(counts[: rank()])
        ctx.own = slice(begin, begin + len(rows))
        return torch.cat([each[:count] for each, count in zip(_gathered(padded), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_ranks(gradients[0].contiguous())[ctx.own]
