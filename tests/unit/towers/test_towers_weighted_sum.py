"""Weighted sums of rows against a gather and a sum, forward and by autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.towers.history.weighted_sum import weighted_sum


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 8), st.booleans(), st.integers(0, 500))
def test_sums_and_gradients_are_those_of_a_gather(
    size: int, length: int, rows: int, small: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    positions = torch.randint(0, rows, (size, length), dtype=torch.int32 if small else torch.int64)
    table = torch.cat([torch.zeros(1, 3), torch.randn(rows - 1, 3)]).requires_grad_()
    weights = (torch.rand(size, length) * (positions > 0)).requires_grad_()
    got = weighted_sum(table, positions, weights)
    expected = (table[positions.long()] * weights[..., None]).sum(1)
    torch.testing.assert_close(got, expected)
    slope = torch.randn_like(got)
    gradients = [torch.autograd.grad(each, [table, weights], slope) for each in (got, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert (gradients[0][0][0] == 0).all()
    again = torch.autograd.grad(weighted_sum(table, positions, weights), table, slope)[0]
    assert torch.equal(again, gradients[0][0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tables_of_16_bits_have_gradients(dtype: torch.dtype) -> None:
    table = torch.tensor([[0.0], [2.0], [3.0]], dtype=dtype, requires_grad=True)
    positions = torch.tensor([[0, 1, 2], [0, 0, 1]], dtype=torch.int32)
    weights = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 2.0]], requires_grad=True)
    found = weighted_sum(table, positions, weights)
    found.sum().backward()
    assert found.flatten().tolist() == [4.0, 4.0]
    assert table.grad.flatten().tolist() == [0.0, 2.5, 1.0]
    assert weights.grad.flatten().tolist()[1:3] == [2.0, 3.0]
