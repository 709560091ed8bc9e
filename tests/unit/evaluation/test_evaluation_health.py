import numpy as np
import pytest
import torch

from twotower.evaluation.health import (
    UNIFORMITY_VECTORS,
    alignment,
    effective_rank,
    health,
    mean_cosine,
    top_1_share,
    uniformity,
)


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


def test_alignment() -> None:
    users, items = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.0], [3.0, 0.0]])
    assert alignment(users, items) == pytest.approx((0 + 2) / 2)  # the same way, and a right angle
    assert alignment(users, -users) == pytest.approx(4)
    assert alignment(users[:0], items[:0]) == 0


def test_uniformity() -> None:
    # squared distances 2, 4 and 2 of (1, 0), (0, 1) and (-1, 0)
    vectors = torch.tensor([[5.0, 0.0], [0.0, 1.0], [-0.5, 0.0]])
    assert uniformity(vectors) == pytest.approx(np.log((2 * np.exp(-4) + np.exp(-8)) / 3))
    assert uniformity(torch.ones(9, 3)) == pytest.approx(0)
    assert uniformity(torch.ones(1, 3)) == 0
    many = torch.randn(3 * UNIFORMITY_VECTORS, 8)
    assert uniformity(many) == pytest.approx(uniformity(many[1:-1]), abs=0.05)  # of some of them


def test_top_1_share() -> None:
    assert top_1_share(np.array([[1, 2], [1, 3], [2, 1], [0, 0]])) == 0.5
    assert top_1_share(np.zeros((2, 1), dtype=np.int64)) == 0


def test_health_names_both_towers() -> None:
    found = health(
        torch.eye(3), torch.ones(4, 3), np.array([[1], [2], [3]]), (np.array([0, 0]), np.array([1, 4]))
    )
    assert found["user_effective_rank"] == pytest.approx(3)
    assert found["item_mean_cosine"] == pytest.approx(1)
    assert found["top_1_share"] == pytest.approx(1 / 3)
    assert found["item_uniformity"] == pytest.approx(0)
    assert found["alignment"] == pytest.approx(2 - 2 / 3**0.5)
    assert len(found) == 8
