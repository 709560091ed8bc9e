"""Tests of mean differences, many pairs at once: over the same users, and over seeds too.

The random draws are the same for all pairs, so that any number of pairs costs one matrix product, unlike
`scipy.stats.permutation_test` and `scipy.stats.bootstrap`, which test one pair.

Shapes: R rows that are compared (runs), Q users, C comparisons (pairs of rows).

References: Smucker, Allan and Carterette (2007), A comparison of statistical significance tests for
information retrieval evaluation (which recommends randomization and bootstrap tests); Efron and
Tibshirani (1993), An introduction to the bootstrap, sections 13.3 and 15.
"""

import numpy as np
from numpy.typing import NDArray

from twotower.evaluation.user_values import LARGE, Z_95, resampled_means

Floats = NDArray[np.float64]
NUM_RESAMPLES = 2_000
NUM_FLIPS = 10_000
FEWEST_FLIPS = 2_000
MOST_SIGNS = 3 * 10**8
"""Flips times users: above this there are fewer flips, to limit the time."""
MOST_ENUMERATED = 12
"""Up to this many users that differ, all sign vectors are tried."""
BLOCK = 2**21
TIE = 1e-9


def bootstrap_intervals(values: Floats, pairs: NDArray[np.intp], seed: int = 0) -> Floats:
    """Return the 95 % paired bootstrap interval of each pair's mean difference, [C, 2].

    Users are drawn with replacement. A pair's resampled difference is the difference of two resampled means.
    The bounds are percentiles of 2,000 resamples; above 200,000 users they are those of the normal interval.

    Args:
        values: [R, Q] values of the same users, in the same order.
        pairs: [C, 2] positions (i, j) of rows; the difference is i - j.

    Reference: Efron and Tibshirani (1993), section 13.3.
    """
    left, right = pairs.T
    if values.shape[1] > LARGE:
        normal = np.empty((len(pairs), 2))
        for position, (i, j) in enumerate(pairs):
            differences = values[i] - values[j]
            half = Z_95 * differences.std(ddof=1) / np.sqrt(values.shape[1])
            normal[position] = differences.mean() - half, differences.mean() + half
        return normal
    means = resampled_means(values.T, NUM_RESAMPLES, seed)
    size = max(1, BLOCK // NUM_RESAMPLES)
    blocks = [slice(start, start + size) for start in range(0, len(pairs), size)]
    deltas = (means[:, left[block]] - means[:, right[block]] for block in blocks)
    return np.concatenate([np.quantile(each, [0.025, 0.975], axis=0).T for each in deltas])


def sign_flip_p_values(
    values: Floats, pairs: NDArray[np.intp], num_flips: int = NUM_FLIPS, seed: int = 0
) -> Floats:
    """Return the two-sided p-value of each pair's mean difference, [C], by flipping signs.

    If two rows are equally good, a user's difference is as likely with the other sign. The p-value is the
    share of sign vectors whose sum of differences is at least as far from 0 as the one observed. All sign
    vectors are tried if at most 12 users differ. Otherwise 10,000 are drawn, and the observed one is counted
    with them (the "+ 1"), so that p is never 0 and the test holds its level. Where no drawn vector reaches
    the observed sum, p is at most 2 exp(-t^2 / 2) with t = sum / sqrt(sum of squares). Then the smaller of
    the two is returned: the number of flips must not limit a correction for thousands of comparisons.

    Args:
        values: [R, Q] values of the same users, in the same order.
        pairs: [C, 2] positions of the rows to compare.
        num_flips: sign vectors drawn; fewer where there are very many users.

    References: Smucker et al. (2007), section 3.1; Phipson and Smyth (2010), Permutation p-values should
    never be zero; Hoeffding (1963), Probability inequalities for sums of bounded random variables, theorem 2.
    """
    num_users = values.shape[1]
    num_flips = min(num_flips, max(FEWEST_FLIPS, MOST_SIGNS // max(1, num_users)))
    thresholds, bounds = np.empty((2, len(pairs)))
    exact = {}
    for position, (i, j) in enumerate(pairs):
        differences = values[i] - values[j]
        squares, total = float(differences @ differences), abs(float(differences.sum()))
        thresholds[position] = total - TIE * np.abs(differences).sum()
        bounds[position] = 2 * np.exp(-(total**2) / (2 * squares)) if squares else 1.0
        differences = differences[differences != 0]
        if len(differences) <= MOST_ENUMERATED:
            exact[position] = exact_sign_flip_p_value(differences)
    counts = np.zeros(len(pairs), dtype=np.int64)
    generator = np.random.default_rng(seed)
    left, right = pairs.T
    size = max(1, BLOCK // max(1, num_users))
    width = max(1, BLOCK // size)
    for start in range(0, num_flips, size):
        num_rows = min(size, num_flips - start)
        bits = generator.integers(256, size=(num_rows, -(-num_users // 8)), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=num_users).astype(np.float64)
        signs *= 2.0
        signs -= 1.0
        sums = signs @ values.T
        for first in range(0, len(pairs), width):
            part = slice(first, first + width)
            flipped = np.abs(sums[:, left[part]] - sums[:, right[part]])
            counts[part] += (flipped >= thresholds[part]).sum(axis=0)
    p_values: Floats = np.asarray((counts + 1) / (num_flips + 1), dtype=np.float64)
    p_values[counts == 0] = np.minimum(p_values, bounds)[counts == 0]
    p_values[list(exact)] = list(exact.values())
    return p_values


def exact_sign_flip_p_value(differences: Floats) -> float:
    """Return the two-sided sign-flip p-value over all 2^n sign vectors of n differences; 1 without any."""
    size = len(differences)
    signs = 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)
    threshold = abs(differences.sum()) - TIE * np.abs(differences).sum()
    return float(np.mean(np.abs(signs @ differences) >= threshold))


def holm(p_values: Floats) -> Floats:
    """Return p-values corrected for their number: at .05, the chance of any false finding is at most .05.

    The smallest is multiplied by the number of comparisons, the next by one less, and so on; none is below
    one that was smaller before, or above 1.

    Reference: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def difference_over_seeds(left: Floats, right: Floats) -> tuple[float, float, float]:
    """Return the 95 % interval (low, high) of the mean difference left - right, and its two-sided p-value.

    The error has two crossed sources: the sample of users and the sample of seeds. Its square is the squared
    error over users (of values averaged over seeds) plus the squared errors over each side's seeds (of values
    averaged over users), minus the part that both contain. The interval is Student's, with degrees of freedom
    weighted over the sources. Resampling would be too narrow for two or three seeds.

    Args:
        left: [S, Q] values of one configuration, S seeds >= 2, Q users; S = 1 without a seed.
        right: [S', Q] values of the other for the same users; one side at least has seeds.

    References: Cameron, Gelbach and Miller (2011), Robust inference with multiway clustering; Satterthwaite
    (1946), An approximate distribution of estimates of variance components.
    """
    from scipy.special import stdtr, stdtrit

    num_users = left.shape[1]
    differences = left.mean(axis=0) - right.mean(axis=0)
    delta = float(differences.mean())
    terms = [(float(differences.var(ddof=1)) / num_users, num_users - 1)]
    both = 0.0
    for side in (left, right):
        if len(side) > 1:
            terms.append((float(side.mean(axis=1).var(ddof=1)) / len(side), len(side) - 1))
            both += _interaction(side) / side.size
    seeds = sum(term for term, _ in terms[1:])
    variance = max(terms[0][0] + seeds - both, terms[0][0], seeds)
    if variance <= 0:
        return delta, delta, float(delta == 0)
    freedom: float = variance**2 / sum(term**2 / degrees for term, degrees in terms if term > 0)
    error = float(np.sqrt(variance))
    half = error * float(stdtrit(freedom, 0.975))
    p_value = 2 * float(stdtr(freedom, -abs(delta) / error))
    return delta - half, delta + half, p_value


def _interaction(side: Floats) -> float:
    """Return the mean square of the interaction of users and seeds."""
    rest = side - side.mean(axis=0) - side.mean(axis=1, keepdims=True) + side.mean()
    degrees = (side.shape[0] - 1) * max(1, side.shape[1] - 1)
    return float(np.sum(rest**2) / degrees)
