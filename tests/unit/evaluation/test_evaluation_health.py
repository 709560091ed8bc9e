import numpy as np
import pytest
import torch

from twotower.evaluation.health import effective_rank, health, mean_cosine, norm_spread, top_1_share


def test_effective_rank() -> None:
    assert effective_rank(torch.eye(4)) == pytest.approx(4)
    assert effective_rank(torch.ones(10, 4)) == pytest.approx(1, abs=1e-5)
    # singular values 2 and 1: shares 2/3 and 1/3
    expected = np.exp(2 / 3 * np.log(3 / 2) + 1 / 3 * np.log(3))
    assert effective_rank(torch.diag(torch.tensor([2.0, 1.0]))) == pytest.approx(expected)
    assert effective_rank(torch.zeros(3, 2)) == 0


def test_mean_cosine() -> None:
    assert mean_cosine(torch.eye(3)) == pytest.approx(0)
    assert mean_cosine(torch.tensor([[1.0, 0.0], [5.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-1 / 3)
    assert mean_cosine(torch.ones(1, 2)) == 0


def test_norm_spread() -> None:
    assert norm_spread(torch.tensor([[3.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.5)
    assert norm_spread(torch.zeros(2, 2)) == 0


def test_top_1_share() -> None:
    assert top_1_share(np.array([[1, 2], [1, 3], [2, 1], [0, 0]])) == 0.5
    assert top_1_share(np.zeros((2, 1), dtype=np.int64)) == 0


def test_health_names_both_towers() -> None:
    found = health(torch.eye(3), torch.ones(4, 3), np.array([[1], [2], [3]]))
    assert found["user_effective_rank"] == pytest.approx(3)
    assert found["item_mean_cosine"] == pytest.approx(1)
    assert found["item_norm_spread"] == pytest.approx(0)
    assert found["top_1_share"] == pytest.approx(1 / 3)
    assert len(found) == 7
