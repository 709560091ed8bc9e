import numpy as np
import pytest

from twotower.evaluation import user_values
from twotower.evaluation.user_values import bootstrap_interval


def test_agrees_with_the_normal_interval_on_many_users() -> None:
    values = np.random.default_rng(1).random((2000, 1))
    half = 1.96 * values.std() / np.sqrt(2000)
    expected = [[values.mean() - half, values.mean() + half]]
    found = bootstrap_interval(values, 2000)
    np.testing.assert_allclose(found, expected, atol=0.1 * half)
    np.testing.assert_array_equal(found, bootstrap_interval(values, 2000))
    assert (found != bootstrap_interval(values, 2000, seed=1)).any()


def test_covers_the_true_mean_about_95_times_in_100() -> None:
    generator = np.random.default_rng(2)
    bounds = [bootstrap_interval((generator.random((300, 1)) < 0.3), 300) for _ in range(200)]
    covered = sum(low <= 0.3 <= high for ((low, high),) in bounds)
    assert 180 <= covered <= 198


def test_very_many_users_take_the_normal_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random((2000, 2))
    resampled = bootstrap_interval(values, 2000)
    monkeypatch.setattr(user_values, "LARGE", 1000)
    np.testing.assert_allclose(bootstrap_interval(values, 2000), resampled, atol=2e-3)
