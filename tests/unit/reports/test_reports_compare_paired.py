import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from twotower.reports.compare.paired import (
    MOST_ENUMERATED,
    bootstrap_intervals,
    difference_over_seeds,
    exact_sign_flip_p_value,
    holm,
    sign_flip_p_values,
)

PAIR = np.array([[0, 1]], dtype=np.intp)
P_VALUES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1))
DIFFERENCES = hnp.arrays(np.float64, st.integers(2, 8), elements=st.integers(-5, 5).map(float))


def recall_like(generator: np.random.Generator, num_rows: int, num_users: int) -> np.ndarray:
    """Values that are mostly 0 with a heavy tail, alike from row to row."""
    shared = generator.gamma(0.7, 0.2, num_users)
    return np.where(generator.random((num_rows, num_users)) < 0.5, 0.0, shared).clip(0, 1)


def against_zero(differences: np.ndarray) -> np.ndarray:
    return np.stack([differences, np.zeros_like(differences)])


def test_three_equal_differences_by_hand() -> None:
    # Of 8 sign vectors only +++ and --- reach |3|.
    assert exact_sign_flip_p_value(np.array([1.0, 1.0, 1.0])) == 2 / 8


def test_one_large_and_two_small_differences_by_hand() -> None:
    # 4 + 1 - 2 = 3: |sum| is 3 or more for (4, 1, -2), (4, -1, 2), (4, 1, 2) and their mirrors.
    assert exact_sign_flip_p_value(np.array([4.0, 1.0, -2.0])) == 6 / 8


def test_equal_rows_have_p_value_one() -> None:
    values = against_zero(np.zeros(50))
    assert sign_flip_p_values(values, PAIR).tolist() == [1.0]
    assert bootstrap_intervals(values, PAIR).tolist() == [[0.0, 0.0]]


def test_users_without_a_difference_do_not_change_an_exact_p_value() -> None:
    differences = np.array([0.1, 0.2, -0.05, 0.3])
    padded = np.concatenate([differences, np.zeros(500)])
    assert sign_flip_p_values(against_zero(padded), PAIR)[0] == exact_sign_flip_p_value(differences)


@given(DIFFERENCES)
def test_exact_p_value_is_scipys(differences: np.ndarray) -> None:
    theirs = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert exact_sign_flip_p_value(differences) == pytest.approx(min(1.0, theirs))


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02])
def test_drawn_p_value_is_near_scipys(shift: float) -> None:
    generator = np.random.default_rng(3)
    values = recall_like(generator, 2, 300)
    values[0] += shift * generator.random(300)
    ours = sign_flip_p_values(values, PAIR, num_flips=10_000)[0]
    theirs = stats.permutation_test(
        (values[0], values[1]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=4_000,
        rng=np.random.default_rng(1),
    ).pvalue
    # Four standard errors of a share out of 4,000 draws.
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(theirs * (1 - theirs) / 4_000) + 1e-3)


def test_interval_is_near_scipys_percentile_bootstrap() -> None:
    values = recall_like(np.random.default_rng(5), 2, 400)
    low, high = bootstrap_intervals(values, PAIR)[0]
    theirs = stats.bootstrap(
        (values[0] - values[1],),
        np.mean,
        n_resamples=4_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.08 * width)


def test_the_number_of_flips_does_not_limit_small_p_values() -> None:
    p_value = sign_flip_p_values(against_zero(np.full(200, 0.1)), PAIR)[0]
    # 2 exp(-200 / 2), which is above the exact 2 / 2^200.
    assert p_value == pytest.approx(2 * np.exp(-100))


@given(hnp.arrays(np.float64, st.integers(MOST_ENUMERATED + 1, 40), elements=st.floats(-1, 1)))
def test_a_reversed_pair_has_the_same_p_value_and_the_mirrored_interval(differences: np.ndarray) -> None:
    values = against_zero(differences)
    back = np.array([[1, 0]], dtype=np.intp)
    p_value = sign_flip_p_values(values, PAIR, num_flips=200)
    assert p_value == sign_flip_p_values(values, back, num_flips=200)
    assert 0 < p_value[0] <= 1
    low, high = bootstrap_intervals(values, PAIR)[0]
    assert bootstrap_intervals(values, back)[0] == pytest.approx([-high, -low])


@given(st.integers(0, 10**6))
def test_pairs_are_independent_of_other_pairs(seed: int) -> None:
    values = recall_like(np.random.default_rng(seed), 4, 60)
    pairs = np.array(list(combinations(range(4), 2)), dtype=np.intp)
    together = sign_flip_p_values(values, pairs, num_flips=300)
    alone = [sign_flip_p_values(values, pair[None], num_flips=300)[0] for pair in pairs]
    assert together == pytest.approx(alone)


def test_equally_good_runs_are_rejected_at_the_level() -> None:
    generator = np.random.default_rng(11)
    p_values = []
    for _ in range(400):
        values = recall_like(generator, 2, 80)
        p_values.append(sign_flip_p_values(values, PAIR, num_flips=199)[0])
    # .05 +- three standard errors of a share out of 400.
    assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


def test_190_pairs_of_many_users_are_quick() -> None:
    values = recall_like(np.random.default_rng(0), 20, 6_000)
    pairs = np.array(list(combinations(range(20), 2)), dtype=np.intp)
    before = time.process_time()
    sign_flip_p_values(values, pairs)
    bootstrap_intervals(values, pairs)
    assert time.process_time() - before < 10


def test_holm_by_hand() -> None:
    # 3 x .01, then max(.03, 2 x .02), then max(.04, 1 x .03).
    assert holm(np.array([0.03, 0.01, 0.02])).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.9, 0.6])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_no_correction_and_bonferroni(p_values: np.ndarray) -> None:
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()
    assert (corrected >= p_values).all()
    assert (corrected <= np.minimum(1, p_values * len(p_values)) + 1e-12).all()


def two_configurations(generator: np.random.Generator, num_seeds: int, sd: float) -> tuple[np.ndarray, ...]:
    """Equally good configurations: users alike, seeds that shift a whole run, and noise of both."""
    users = generator.gamma(0.7, 0.2, 120)
    return tuple(
        users + generator.normal(0, sd, (num_seeds, 1)) + generator.normal(0, 0.1, (num_seeds, 120))
        for _ in range(2)
    )


@pytest.mark.parametrize(("num_seeds", "sd"), [(2, 0.02), (3, 0.02), (5, 0.02), (3, 0.0)])
def test_intervals_over_seeds_cover_zero_for_equal_configurations(num_seeds: int, sd: float) -> None:
    generator = np.random.default_rng(num_seeds)
    found = [difference_over_seeds(*two_configurations(generator, num_seeds, sd)) for _ in range(600)]
    wrong = np.mean([not low <= 0 <= high for low, high, _ in found])
    # At most .05, and three standard errors of a share out of 600.
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert wrong == np.mean([p_value < 0.05 for _, _, p_value in found])


def test_a_test_over_users_alone_ignores_the_variation_over_seeds() -> None:
    generator = np.random.default_rng(3)
    p_values = []
    for _ in range(100):
        left, right = two_configurations(generator, 3, 0.02)
        p_values.append(sign_flip_p_values(np.stack([left.mean(0), right.mean(0)]), PAIR, num_flips=199)[0])
    assert np.mean(np.array(p_values) <= 0.05) > 0.3


def test_a_side_without_seeds_is_compared_over_the_seeds_of_the_other() -> None:
    generator = np.random.default_rng(9)
    wrong = []
    for _ in range(600):
        users = generator.gamma(0.7, 0.2, 120)
        seeds = users + generator.normal(0, 0.02, (3, 1)) + generator.normal(0, 0.1, (3, 120))
        low, high, _ = difference_over_seeds(seeds, users[None])
        back = difference_over_seeds(users[None], seeds)
        assert back[:2] == pytest.approx((-high, -low))
        wrong.append(not low <= 0 <= high)
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_seeds_do_not_hide_a_clear_difference() -> None:
    left, right = two_configurations(np.random.default_rng(0), 5, 0.005)
    low, high, p_value = difference_over_seeds(left + 0.05, right)
    assert low > 0
    assert high > 0.05
    assert p_value < 0.01


def test_equal_seeds_of_two_configurations_that_differ_by_a_constant() -> None:
    one = np.tile(np.array([0.25, 0.5]), (2, 1))
    assert difference_over_seeds(one + 0.25, one) == (0.25, 0.25, 0.0)
    assert difference_over_seeds(one, one) == (0.0, 0.0, 1.0)
