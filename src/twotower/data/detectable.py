"""The smallest difference between two models that a test with a number of users detects."""

import math

import numpy as np

NUM_ERRORS = 2.8
"""Standard errors: a two-sided test at 5 % detects a difference of 1.96 + 0.84 of them in 80 % of cases."""


def detectable_difference(differences: np.ndarray) -> float:
    """Return 2.8 standard errors of the mean of paired differences, one a user, [Q].

    Two users are added whose differences are the largest possible of either sign (1, or the largest of the
    values if that is more): three equal values show nothing, though their standard deviation is 0.

    Reference: Agresti and Coull, Approximate is better than "exact" for interval estimation of binomial
    proportions, The American Statistician 1998 (the added observations).
    """
    largest = max(1.0, float(np.abs(differences).max(initial=0)))
    values = np.append(differences, (-largest, largest))
    return float(NUM_ERRORS * values.std() / np.sqrt(len(values)))


def largest_detectable_difference(num_users: int) -> float:
    """Return a bound on `detectable_difference` before any model exists, for metrics between 0 and 1.

    The standard deviation of differences between -1 and 1 is at most 1.
    """
    return min(1.0, NUM_ERRORS / math.sqrt(max(num_users, 1)))
