"""Weighted sums of rows against a gather and a sum, forward and by autograd."""

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
