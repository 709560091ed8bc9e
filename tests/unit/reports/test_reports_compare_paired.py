import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from twotower.reports.compare.paired import (
    MOST_ENUMERATED,
    difference_over_seeds,
    exact_sign_flip_p_value,
    holm,
    sign_flip_p_values,
)

P_VALUES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1))
DIFFERENCES = hnp.arrays(np.float64, st.integers(2, 8), elements=st.integers(-5, 5).map(float))


def recall_like(generator: np.random.Generator, num_rows: int, num_users: int) -> np.ndarray:
    """Values that are mostly 0 with a heavy tail, alike from row to row."""
    shared = generator.gamma(0.7, 0.2, num_users)
    return np.where(generator.random((num_rows, num_users)) < 0.5, 0.0, shared).clip(0, 1)


def test_p_values_by_hand() -> None:
    # Of 8 sign vectors only +++ and --- reach |3|.
    assert exact_sign_flip_p_value(np.array([1.0, 1.0, 1.0])) == 2 / 8
    # 4 + 1 - 2 = 3: |sum| is 3 or more for (4, 1, -2), (4, -1, 2), (4, 1, 2) and their mirrors.
    assert exact_sign_flip_p_value(np.array([4.0, 1.0, -2.0])) == 6 / 8
    assert sign_flip_p_values(np.zeros((1, 50))).tolist() == [1.0]
    # Users without a difference do not change an exact p-value.
    differences = np.array([0.1, 0.2, -0.05, 0.3])
    padded = np.concatenate([differences, np.zeros(500)])
    assert sign_flip_p_values(padded[None])[0] == exact_sign_flip_p_value(differences)
    # The number of flips does not limit a small one: 2 exp(-200 / 2), which is above the exact 2 / 2^200.
    assert sign_flip_p_values(np.full((1, 200), 0.1))[0] == pytest.approx(2 * np.exp(-100))


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


@given(hnp.arrays(np.float64, st.integers(MOST_ENUMERATED + 1, 40), elements=st.floats(-1, 1)))
def test_a_pair_is_independent_of_its_order_and_of_other_pairs(differences: np.ndarray) -> None:
    p_values = sign_flip_p_values(np.stack([differences, -differences, differences**2]), num_flips=200)
    assert (
        p_values[0] == p_values[1] == pytest.approx(sign_flip_p_values(differences[None], num_flips=200)[0])
    )
    assert 0 < p_values[0] <= 1


def test_equally_good_runs_are_rejected_at_the_level() -> None:
    generator = np.random.default_rng(11)
    p_values = []
    for _ in range(400):
        values = recall_like(generator, 2, 80)
        p_values.append(sign_flip_p_values(values[:1] - values[1], num_flips=199)[0])
    # .05 +- three standard errors of a share out of 400.
    assert abs(np.mean(np.array(p_values) <= 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)


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
    found = [difference_over_seeds(*pair).test() for pair in pairs]
    wrong = np.mean([not low <= 0 <= high for low, high, _ in found])
    # At most .05, and three standard errors of a share out of 600.
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert wrong == np.mean([p_value < 0.05 for _, _, p_value in found])
    back = [difference_over_seeds(right, left).test()[:2] for left, right in pairs]
    assert np.array(back) == pytest.approx(np.array([(-high, -low) for low, high, _ in found]))


def test_differences_over_seeds_that_are_clear_or_constant() -> None:
    left, right = two_configurations(np.random.default_rng(0), (5, 5), 0.005)
    low, high, p_value = difference_over_seeds(left + 0.05, right).test()
    assert high > 0.05 > low > 0
    assert p_value < 0.01
    one = np.tile(np.array([0.25, 0.5]), (2, 1))
    assert difference_over_seeds(one + 0.25, one).test() == (0.25, 0.25, 0.0)
    assert difference_over_seeds(one, one).test() == (0.0, 0.0, 1.0)
