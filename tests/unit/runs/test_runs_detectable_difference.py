"""The smallest difference that users can show, by hand."""

import numpy as np
import pytest

from twotower.data.audit import largest_detectable_difference
from twotower.runs.detectable_difference import detectable_difference


def test_2_8_standard_errors_of_differences_with_two_more_users() -> None:
    """Three zeros with -1 and 1: variance 2 / 5, standard error sqrt(2 / 25)."""
    assert detectable_difference(np.zeros(3)) == pytest.approx(2.8 * (2 / 25) ** 0.5)
    many = np.tile([0.1, -0.1], 50_000)
    assert detectable_difference(many) == pytest.approx(2.8 * 0.1 / 100_000**0.5, rel=1e-2)
    ranks = np.array([10.0, -10.0])  # no metric between 0 and 1
    assert detectable_difference(ranks) == pytest.approx(2.8 * 10 / 2)


def test_the_bound_before_any_model_exists() -> None:
    assert largest_detectable_difference(784) == pytest.approx(0.1)
    assert largest_detectable_difference(3) == 1
    differences = np.random.default_rng(0).choice([-1.0, 1.0], 784)
    assert detectable_difference(differences) <= largest_detectable_difference(784) + 1e-9
