"""What the seed alone changes, and the test of a difference that counts seeds as luck, too."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.reports.compare.entries import by_configuration
from twotower.reports.compare.record import RunRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of one figure over the seeds of a configuration."""

    mean: float
    sd: float
    num_seeds: int


@dataclass(frozen=True)
class Luck:
    """How far two runs of one configuration may be apart: the sd over seeds, pooled.

    `reach` is two standard deviations of the difference of two single runs: a rule of thumb, since few seeds
    know their own spread badly.
    """

    sd: float
    num_seeds: int
    reach: float


def spreads(records: Sequence[RunRecord], key: str) -> dict[str, Spread]:
    """Return the spread over seeds of each configuration that has at least two seeds with this figure."""
    found = {}
    for runs in by_configuration(records):
        values = list({run.seed: run.figures[key] for run in runs if key in run.figures}.values())
        if len(values) > 1:
            spread = Spread(statistics.fmean(values), statistics.stdev(values), len(values))
            found[runs[0].configuration] = spread
    return found


def luck(found: Iterable[Spread]) -> Luck | None:
    """Pool the spreads of one table, None if there are none.

    Equal spreads of equal means are one training indexed several times and count once.
    """
    distinct = set(found)
    freedom = sum(spread.num_seeds - 1 for spread in distinct)
    if not freedom:
        return None
    variance = sum(spread.sd**2 * (spread.num_seeds - 1) for spread in distinct) / freedom
    num_seeds = sum(spread.num_seeds for spread in distinct)
    return Luck(variance**0.5, num_seeds, reach=2 * (2 * variance) ** 0.5)


def difference_over_seeds(left: Floats, right: Floats) -> tuple[float, float, float]:
    """Return the 95 % interval (low, high) of the mean difference left - right, and its two-sided p-value.

    The error has two sources that cross: which users were asked, and which seeds were drawn. Its square is
    the squared error over users (of values averaged over seeds) plus the squared errors over each side's
    seeds (of values averaged over users), less the part that both contain. The interval is Student's, with
    degrees of freedom weighted over the sources, so that two or three seeds give an interval that is honestly
    wide: to resample them would not, for few seeds cannot show their own spread.

    Args:
        left: [S, Q] values of one configuration, S seeds >= 2, Q users; S = 1 for what has no seed, as a
            baseline.
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
    """Return the mean square of what neither the user's nor the seed's own mean explains."""
    rest = side - side.mean(axis=0) - side.mean(axis=1, keepdims=True) + side.mean()
    degrees = (side.shape[0] - 1) * max(1, side.shape[1] - 1)
    return float(np.sum(rest**2) / degrees)
