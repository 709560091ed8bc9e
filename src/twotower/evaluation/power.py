"""Power of paired tests over users: the difference they can show, and equivalence. C pairs, Q users."""

import math

import numpy as np
from scipy.special import nctdtrinc, ndtri, stdtr, stdtrit

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.user_values import resampled_means

ALPHA, POWER = 0.05, 0.8
MAX_DRAWS = 10**7
MAX_RESAMPLES = 10_000
LARGE = 5_000  # users: with more, the normal approximation agrees with resampling


def fewest_differing(alpha: float = ALPHA) -> int:
    """Return the number of users who must differ for a sign-flip test to reject at all."""
    return math.ceil(1 - math.log2(alpha))


def detectable_differences(differences: Floats, num_users: int, alpha: float = ALPHA) -> Floats:
    """Return the smallest difference [C] of two means that a paired test shows in 80 % of cases.

    The users of a simulated test are drawn with replacement from the centered differences, and every user
    gains the same. Student's test rejects a resample with mean m and error s if the gain is above t s - m:
    the result is the 80 % quantile of t s - m, over gains and losses. The sign-flip test of `compare` agrees
    with it. The result is NaN if fewer than `fewest_differing` users differ.

    Args:
        differences: [C, Q] values of the same users.
        num_users: of the test; may differ from Q.
        alpha: two-sided level.

    Reference: Efron and Tibshirani (1993), An introduction to the bootstrap, section 25.4 (power by
    resampling).
    """
    fewest = fewest_differing(alpha)
    # Multiplied first: 6 / 47 * 47 is below 6.
    differing = np.count_nonzero(differences, axis=1) * num_users / differences.shape[1]
    if num_users < fewest:
        return np.full(len(differences), np.nan)
    centered = differences - differences.mean(axis=1, keepdims=True)
    if num_users > LARGE:
        quantile = (ndtri(1 - alpha / 2) + ndtri(POWER)) * centered.std(axis=1) / np.sqrt(num_users)
    else:
        num_resamples = min(MAX_RESAMPLES, MAX_DRAWS // num_users)
        means = resampled_means(np.concatenate([centered, centered**2]).T, num_users, num_resamples)
        mean, square = np.split(means, 2, axis=1)
        with np.errstate(invalid="ignore"):  # users who are all equal: NaN
            mean *= centered.std(axis=1) / np.sqrt(num_users) / mean.std(axis=0)  # less noise of resampling
        errors = np.sqrt((square - mean**2).clip(0) / (num_users - 1))
        errors *= stdtrit(num_users - 1, 1 - alpha / 2)
        quantile = np.quantile(np.concatenate([errors - mean, errors + mean]), POWER, axis=0)
    return np.where(differing < fewest, np.nan, quantile)


def detectable_errors(freedom: Floats, alpha: float = ALPHA) -> Floats:
    """Return the standard errors that Student's test shows in 80 % of cases: 2.80 for many degrees."""
    return np.asarray(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - alpha / 2)), dtype=np.float64)


def cautious_error(differences: Floats) -> float:
    """Return the standard error of the mean of differences [Q] with two more users.

    The two have the largest possible differences of either sign (1, or the largest value if it is more):
    three equal users do not show that two models are equivalent, though their standard deviation is 0.

    Reference: Agresti and Coull (1998), Approximate is better than "exact" for interval estimation of
    binomial proportions (the added observations).
    """
    largest = np.abs(differences).max(initial=1.0)
    values = np.append(differences, (largest, -largest))
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def equivalence_p_values(means: Floats, errors: Floats, freedoms: Floats, min_effect: float) -> Floats:
    """Return the p-value [C] of two one-sided tests: the true difference is inside +-min_effect.

    It is at most .05 if the 90 % interval (Student's) of the difference is inside +-min_effect.

    Reference: Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach for
    assessing the equivalence of average bioavailability.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(stdtr(freedoms, (np.abs(means) - min_effect) / errors), dtype=np.float64)
