import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from twotower.evaluation import power
from twotower.evaluation.power import (
    cautious_error,
    detectable_differences,
    detectable_errors,
    equivalence_p_values,
)
from twotower.experiments.compare.paired import sign_flips

HITS = np.array([1.0] * 300 + [-1.0] * 300 + [0.0] * 1400)[None]
"""Differences of 2,000 users with variance .3."""


def test_2_8_standard_errors_of_many_users() -> None:
    """1.96 + .84 = 2.80 standard errors of sqrt(.3 / 500) = .0245."""
    assert detectable_differences(HITS, 500)[0] == pytest.approx(2.80 * 0.0245, rel=0.02)
    assert detectable_differences(HITS, 50_000)[0] == pytest.approx(2.8016 * (0.3 / 50_000) ** 0.5, rel=1e-4)
    # The level of one of two tests: 2.24 + .84.
    assert detectable_differences(HITS, 500, 0.025)[0] == pytest.approx(3.08 * 0.0245, rel=0.02)
    assert detectable_errors(np.array([1e4]), 0.05)[0] == pytest.approx(2.80, abs=0.01)
    # Student's 4.30 with two degrees of freedom, as of three seeds: stats.nct(2, 5.653).sf(4.303) = .8.
    assert stats.nct(2, detectable_errors(np.array([2.0]))[0]).sf(stats.t(2).isf(0.025)) == pytest.approx(0.8)


@pytest.mark.parametrize("num_users", [60, 500])
def test_the_sign_flip_test_rejects_at_the_level_and_with_the_power(num_users: int) -> None:
    """Skewed differences, half of them 0. Bounds: three standard errors of a share out of 600, and 1 %."""
    generator = np.random.default_rng(3)
    values = np.where(generator.random(3_000) < 0.5, 0.0, generator.gamma(0.7, 0.2, 3_000) - 0.1)
    values -= values.mean()
    effect = detectable_differences(values[None], num_users)[0]
    drawn = generator.choice(values, (600, num_users))
    signs = generator.choice([-1.0, 1.0], (600, 1))
    at_zero, at_effect = (
        np.mean([each.p_value() <= 0.05 for each in sign_flips(drawn + shift, num_flips=999)])
        for shift in (0.0, signs * effect)
    )
    assert at_zero == pytest.approx(0.05, abs=0.01 + 3 * (0.05 * 0.95 / 600) ** 0.5)
    assert at_effect == pytest.approx(0.8, abs=0.01 + 3 * (0.8 * 0.2 / 600) ** 0.5)


@given(st.floats(0.01, 100), st.integers(8, 200), st.integers(2, 20))
def test_the_difference_scales_with_the_values_and_falls_with_users(
    scale: float, num_users: int, times: int
) -> None:
    values = np.random.default_rng(num_users).normal(size=(1, 40))
    few, many, scaled = (
        detectable_differences(each, number)[0]
        for each, number in ((values, num_users), (values, num_users * times), (values * scale, num_users))
    )
    assert scaled == pytest.approx(scale * few)
    assert many < few  # with one user more it could exceed it by the noise of the simulation
    assert detectable_differences(-values, num_users)[0] == pytest.approx(few)
    assert detectable_differences(values, num_users, 0.01)[0] > few


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "scales" in request.node.name:
        monkeypatch.setattr(power, "MAX_RESAMPLES", 500)


def test_too_few_users_that_differ_show_nothing() -> None:
    """Six equal signs have p = 2 / 64, five have 2 / 32; at a tenth of the level, nine are too few."""
    six, five = (np.array([[1.0] * 3 + [-1.0] * (number - 3) + [0.0] * 4]) for number in (6, 5))
    assert np.isfinite(detectable_differences(six, 10)[0])
    assert np.isnan(detectable_differences(six, 10, 0.005)[0])
    assert np.isnan(detectable_differences(five, 9)[0])
    assert np.isnan(detectable_differences(np.ones((1, 3)), 3)[0])
    assert np.isnan(detectable_differences(HITS, 1)[0])


def test_equivalence_by_hand_and_by_two_t_tests_of_scipy() -> None:
    """t(.95) of 15 degrees is 1.753: the 90 % interval .1 +- 1.753 x .05 ends at .18765."""
    means, errors, freedoms = np.array([0.1, -0.1, 0.1]), np.full(3, 0.05), np.full(3, 15.0)
    assert equivalence_p_values(means, errors, freedoms, 0.18765) == pytest.approx([0.05] * 3, abs=1e-4)
    values = np.random.default_rng(1).normal(0.02, 0.2, 30)
    theirs = max(
        stats.ttest_1samp(values, -0.1, alternative="greater").pvalue,
        stats.ttest_1samp(values, 0.1, alternative="less").pvalue,
    )
    error = values.std(ddof=1) / 30**0.5
    ours = equivalence_p_values(*(np.array([each]) for each in (values.mean(), error, 29.0)), 0.1)
    assert ours[0] == pytest.approx(theirs)


def test_three_equal_users_are_not_certain() -> None:
    """Zeros with -1 and 1: variance 2 / 4, error sqrt(.5 / 5)."""
    assert cautious_error(np.zeros(3)) == pytest.approx(0.1**0.5)
    assert cautious_error(np.array([10.0, -10.0])) == pytest.approx((400 / 3 / 4) ** 0.5)
    assert cautious_error(HITS[0]) == pytest.approx((0.3 / 2_000) ** 0.5, rel=2e-3)


@pytest.mark.parametrize("num_users", range(6, 200))
def test_six_users_who_differ_are_enough_for_any_number(num_users: int) -> None:
    values = np.zeros((1, num_users))
    values[0, :6] = np.arange(6) + 1.0
    assert np.isfinite(detectable_differences(values, num_users)[0])
