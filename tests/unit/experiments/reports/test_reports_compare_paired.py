import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from twotower.experiments.compare.paired import (
    MAX_ENUMERATED,
    difference_over_seeds,
    holm,
    holm_levels,
    sign_flips,
)

P_VALUES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1))
DIFFERENCES = hnp.arrays(np.float64, st.integers(2, 8), elements=st.integers(-5, 5).map(float))


def recall_like(generator: np.random.Generator, num_rows: int, num_users: int) -> np.ndarray:
    """Values that are mostly 0 with a heavy tail, alike from row to row."""
    shared = generator.gamma(0.7, 0.2, num_users)
    return np.where(generator.random((num_rows, num_users)) < 0.5, 0.0, shared).clip(0, 1)


def p_values_of(differences: np.ndarray, num_flips: int = 10_000) -> list[float]:
    return [each.p_value() for each in sign_flips(differences, num_flips)]


def test_p_values_by_hand() -> None:
    # Of 8 sign vectors only +++ and --- reach |3|.
    assert p_values_of(np.array([[1.0, 1.0, 1.0]])) == [2 / 8]
    # 4 + 1 - 2 = 3: |sum| is 3 or more for (4, 1, -2), (4, -1, 2), (4, 1, 2) and their mirrors.
    assert p_values_of(np.array([[4.0, 1.0, -2.0]])) == [6 / 8]
    assert p_values_of(np.zeros((1, 50))) == [1.0]
    # Users without a difference do not change an exact p-value.
    differences = np.array([0.1, 0.2, -0.05, 0.3])
    padded = np.concatenate([differences, np.zeros(500)])
    assert p_values_of(padded[None]) == p_values_of(differences[None])
    # The number of flips does not limit a small one: 2 exp(-200 / 2), which is above the exact 2 / 2^200.
    assert p_values_of(np.full((1, 200), 0.1))[0] == pytest.approx(2 * np.exp(-100))


@given(DIFFERENCES)
def test_exact_p_value_is_scipys(differences: np.ndarray) -> None:
    theirs = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    assert p_values_of(differences[None])[0] == pytest.approx(min(1.0, theirs))


@given(hnp.arrays(np.float64, st.integers(MAX_ENUMERATED + 1, 40), elements=st.floats(-1, 1)))
def test_a_pair_is_independent_of_its_order_and_of_other_pairs(differences: np.ndarray) -> None:
    tests = sign_flips(np.stack([differences, -differences, differences**2]), num_flips=200)
    p_values = [each.p_value() for each in tests]
    assert p_values[0] == p_values[1] == pytest.approx(p_values_of(differences[None], 200)[0])
    assert tests[0].interval() == pytest.approx([-end for end in reversed(tests[1].interval())], nan_ok=True)
    assert 0 < p_values[0] <= 1


def test_equally_good_runs_are_rejected_at_the_level() -> None:
    generator = np.random.default_rng(11)
    p_values = []
    for _ in range(400):
        values = recall_like(generator, 2, 80)
        p_values += p_values_of(values[:1] - values[1], 199)
    # .05 +- three standard errors of a share out of 400.
    assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_interval_by_hand() -> None:
    """Of 2^6 sign vectors only the observed one and its mirror reach the sum, and they have no ends.

    Then come, each with its mirror, user 1 against the others (the low end is 1) and users 1 and 2 (1.5).
    """
    (test,) = sign_flips(np.arange(1.0, 7.0)[None])
    assert test.p_value() == 2 / 2**6
    assert test.interval(4 / 2**6) == (1.5, 5.5)
    assert np.isnan(test.interval(1 / 2**6)).all()


def sparse(generator: np.random.Generator, num_pairs: int, num_users: int) -> np.ndarray:
    """Differences of equally good models that few users notice, by different amounts."""
    sizes = generator.choice([0.2, 0.5, 1.0], (num_pairs, num_users))
    signs = generator.choice([-1.0, 1.0], sizes.shape)
    return np.where(generator.random(sizes.shape) < 0.03, sizes * signs, 0.0)


@pytest.mark.parametrize("num_users", [100, 300, 900])
def test_for_sparse_differences_interval_and_p_value_agree_and_are_calibrated(num_users: int) -> None:
    """The percentile bootstrap excludes 0 beside p-values above .05 in up to 3 % of these pairs."""
    generator = np.random.default_rng(num_users)
    tests = sign_flips(sparse(generator, 600, num_users), num_flips=499)
    for level in (0.05, 0.05 / 7):
        intervals = np.array([test.interval(level) for test in tests])
        excludes = (intervals[:, 0] > 0) | (intervals[:, 1] < 0)
        assert excludes.tolist() == [test.p_value() <= level for test in tests]
    assert np.mean([test.p_value() <= 0.05 for test in tests]) <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
    means = 0.01, -0.02  # of true differences, which the interval contains as often
    for mean in means:
        ends = [test.interval() for test in sign_flips(sparse(generator, 600, num_users) + mean, 499)]
        misses = np.mean([not low <= mean <= high for low, high in ends])
        assert misses == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 600) ** 0.5)


@given(st.integers(2, 60), st.integers(0, 10**6))
def test_interval_and_p_value_of_any_differences_agree_at_any_level(num_users: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.choice([-0.5, 0.0, 0.25, 1.0], (3, num_users)) + generator.choice([0.0, 0.5], (3, 1))
    for test in sign_flips(values, num_flips=99):
        for level in (0.2, 0.05, 0.003, 1e-6):
            low, high = test.interval(level)
            assert (low > 0 or high < 0) == (test.p_value() <= level)


def test_levels_of_holm_reject_what_the_corrected_p_values_reject() -> None:
    p_values = np.array([0.03, 0.01, 0.02, 0.6])
    assert holm(p_values).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.6])
    # .01 is tested at .05 / 4 and shown; the other three at .05 / 3.
    assert holm_levels(holm(p_values)).tolist() == pytest.approx([0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3])


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


def two_configurations(
    generator: np.random.Generator, num_seeds: tuple[int, int], sd: float
) -> tuple[np.ndarray, ...]:
    """Equally good configurations: users alike, seeds that shift a whole run, and noise of both."""
    users = generator.gamma(0.7, 0.2, 120)
    return tuple(
        users + generator.normal(0, sd, (num, 1)) + generator.normal(0, 0.1, (num, 120))
        if num
        else users[None]
        for num in num_seeds
    )


@pytest.mark.parametrize(
    ("num_seeds", "sd"),
    [((2, 2), 0.02), ((3, 3), 0.02), ((5, 5), 0.02), ((3, 3), 0.0), ((3, 0), 0.02)],  # 0: without a seed
)
def test_intervals_over_seeds_cover_zero_for_equal_configurations(
    num_seeds: tuple[int, int], sd: float
) -> None:
    generator = np.random.default_rng(num_seeds[0])
    pairs = [two_configurations(generator, num_seeds, sd) for _ in range(600)]
    tests = [difference_over_seeds(*pair) for pair in pairs]
    found = [test.interval() for test in tests]
    wrong = np.mean([not low <= 0 <= high for low, high in found])
    # At most .05, and three standard errors of a share out of 600.
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert wrong == np.mean([test.p_value() < 0.05 for test in tests])
    back = [difference_over_seeds(right, left).interval() for left, right in pairs]
    assert np.array(back) == pytest.approx(np.array([(-high, -low) for low, high in found]))


def test_differences_over_seeds_that_are_clear_or_constant() -> None:
    left, right = two_configurations(np.random.default_rng(0), (5, 5), 0.005)
    clear = difference_over_seeds(left + 0.05, right)
    low, high = clear.interval()
    assert high > 0.05 > low > 0
    assert clear.p_value() < 0.01
    one = np.tile(np.array([0.25, 0.5]), (2, 1))
    constant, equal = difference_over_seeds(one + 0.25, one), difference_over_seeds(one, one)
    assert (*constant.interval(), constant.p_value()) == (0.25, 0.25, 0.0)
    assert (*equal.interval(), equal.p_value()) == (0.0, 0.0, 1.0)
