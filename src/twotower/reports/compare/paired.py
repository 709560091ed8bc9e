"""Tests of mean differences, of many pairs at once: over users, and over seeds too.

The random signs are the same for all pairs, so that any number of pairs costs one matrix product, unlike
`scipy.stats.permutation_test`, which tests one pair.

Shapes: Q users, C pairs. The bootstrap interval is `evaluation.user_values.bootstrap_interval`.

Reference: Smucker, Allan and Carterette (2007), A comparison of statistical significance tests for
information retrieval evaluation.
"""

import numpy as np
from numpy.typing import NDArray

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


def sign_flip_p_values(differences: Floats, num_flips: int = NUM_FLIPS, seed: int = 0) -> Floats:
    """Return the two-sided p-value of each pair's mean difference, [C], by flipping signs.

    If two rows are equally good, a user's difference is as likely with the other sign. The p-value is the
    share of sign vectors whose sum of differences is at least as far from 0 as the one observed. All sign
    vectors are tried if at most 12 users differ. Otherwise 10,000 are drawn, and the observed one is counted
    with them (the "+ 1"), so that p is never 0 and the test holds its level. Where no drawn vector reaches
    the observed sum, p is at most 2 exp(-t^2 / 2) with t = sum / sqrt(sum of squares). Then the smaller of
    the two is returned: the number of flips must not limit a correction for thousands of comparisons.

    Args:
        differences: [C, Q] differences of the same users.
        num_flips: sign vectors drawn; fewer where there are very many users.

    References: Smucker et al. (2007), section 3.1; Phipson and Smyth (2010), Permutation p-values should
    never be zero; Hoeffding (1963), Probability inequalities for sums of bounded random variables, theorem 2.
    """
    num_users = differences.shape[1]
    num_flips = min(num_flips, max(FEWEST_FLIPS, MOST_SIGNS // max(1, num_users)))
    totals, squares = np.abs(differences.sum(axis=1)), (differences**2).sum(axis=1)
    thresholds = totals - TIE * np.abs(differences).sum(axis=1)
    counts = np.zeros(len(differences), dtype=np.int64)
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // max(1, num_users))
    for start in range(0, num_flips, size):
        num_rows = min(size, num_flips - start)
        bits = generator.integers(256, size=(num_rows, -(-num_users // 8)), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=num_users).astype(np.float64) * 2.0 - 1.0
        counts += (np.abs(signs @ differences.T) >= thresholds).sum(axis=0)
    p_values: Floats = np.asarray((counts + 1) / (num_flips + 1), dtype=np.float64)
    unreached = (counts == 0) & (squares > 0)
    bounds = 2 * np.exp(-(totals[unreached] ** 2) / (2 * squares[unreached]))
    p_values[unreached] = np.minimum(p_values[unreached], bounds)
    for pair, row in enumerate(differences):
        if np.count_nonzero(row) <= MOST_ENUMERATED:
            p_values[pair] = exact_sign_flip_p_value(row[row != 0])
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
            interaction = side - side.mean(axis=0) - side.mean(axis=1, keepdims=True) + side.mean()
            degrees = (len(side) - 1) * max(1, num_users - 1)
            both += float(np.sum(interaction**2) / degrees) / side.size
    seeds = sum(term for term, _ in terms[1:])
    variance = max(terms[0][0] + seeds - both, terms[0][0], seeds)
    if variance <= 0:
        return delta, delta, float(delta == 0)
    freedom: float = variance**2 / sum(term**2 / degrees for term, degrees in terms if term > 0)
    error = float(np.sqrt(variance))
    half = error * float(stdtrit(freedom, 0.975))
    p_value = 2 * float(stdtr(freedom, -abs(delta) / error))
    return delta - half, delta + half, p_value
