"""Dropout: how much is dropped, what it becomes, and its gradient."""

import pytest
import torch

from twotower.model.towers.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_a_share_is_zero_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    given = torch.ones(301, 333, requires_grad=True)
    dropped = Dropout(share)(given)
    scale = 65_536 / (65_536 - int(share * 65_536))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(scale).item()}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)  # five times its deviation at the most
    assert (dropped == 0).float().mean(0).std() == pytest.approx((share * (1 - share) / 301) ** 0.5, rel=0.2)
    dropped.sum().backward()
    assert torch.equal(given.grad, dropped)


def test_draws_are_of_the_seed_and_none_is_made_where_nothing_is_dropped() -> None:
    given = torch.randn(5, 7)
    torch.manual_seed(3)
    first, after = Dropout(0.5)(given), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(given), first)
    assert torch.equal(Dropout(0.0)(given), given)
    assert torch.equal(Dropout(0.5).eval()(given), given)
    assert torch.equal(torch.rand(1), after)
