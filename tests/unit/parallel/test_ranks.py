"""Collective operations of two processes, by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from forks import ranks_are_forks

from twotower.parallel.processes import processes
from twotower.parallel.ranks import all_gather_rows, gather_rows, rank, wait_for_all


@pytest.fixture(autouse=True, scope="module")
def forked_ranks() -> Iterator[None]:
    with ranks_are_forks():
        yield


def gather() -> None:
    """Rank 0 has 1, 2, 0 and 1 rows, rank 1 has 2, 1, 1 and 1; every rank checks what it receives."""
    own = rank()
    floats = torch.full((own + 1, 2), 10.0 * (own + 1), requires_grad=True)
    numbers = torch.tensor([3, 4] if own == 0 else [5], dtype=torch.int32)
    known = torch.zeros(own, 0, dtype=torch.bool)
    halves = torch.tensor([0.5 + own], dtype=torch.bfloat16, requires_grad=True)
    all_floats, all_numbers, all_known, all_halves = all_gather_rows(floats, numbers, known, halves)
    assert all_floats.tolist() == [[10, 10], [20, 20], [20, 20]]
    assert (all_numbers.tolist(), all_numbers.dtype) == ([3, 4, 5], torch.int32)
    assert (all_known.shape, all_known.dtype) == ((1, 0), torch.bool)
    assert (all_halves.tolist(), all_halves.dtype) == ([0.5, 1.5], torch.bfloat16)
    assert not all_numbers.requires_grad
    factors = torch.tensor([[1.0], [2.0], [3.0]]) * (own + 1)  # their sums over ranks: 3, 6, 9
    loss = (all_floats * factors).sum() + (all_halves * torch.tensor([1.0, 4.0])).sum()
    loss.backward()
    assert floats.grad is not None
    assert halves.grad is not None
    assert floats.grad.tolist() == ([[3, 3]] if own == 0 else [[6, 6], [9, 9]])
    assert halves.grad.tolist() == ([2] if own == 0 else [8])
    column = torch.tensor([[1.0 + own, 9.0]])[:, 0]  # a view that is contiguous as it has one element
    assert gather_rows(column).tolist() == [1, 2]
    wait_for_all()  # which fails in rank 0 if an assertion has ended rank 1


def test_rows_of_all_ranks_come_in_their_order_with_their_gradients(tmp_path: Path) -> None:
    with processes(2, 1, gather, tmp_path):
        gather()
