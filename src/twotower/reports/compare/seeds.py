"""What the seed alone changes."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from twotower.reports.compare.entries import by_configuration
from twotower.reports.compare.record import RunRecord


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of one figure over the seeds of a configuration."""

    mean: float
    sd: float
    num_seeds: int


@dataclass(frozen=True)
class Luck:
    """How far two runs of one configuration may be apart.

    Args:
        sd: over seeds, pooled over all configurations that have several.
        num_seeds: that it was measured on.
        reach: two standard deviations of the difference of two single runs: a rule of thumb, since few
            seeds know their own spread badly.
    """

    sd: float
    num_seeds: int
    reach: float


def spreads(records: Iterable[RunRecord], key: str) -> dict[str, Spread]:
    """Return the spread over seeds of each configuration that has at least two seeds with this figure."""
    found = {}
    for runs in by_configuration(records):
        values = {run.seed: run.figures[key] for run in runs if key in run.figures}
        if len(values) > 1:
            each = list(values.values())
            found[runs[0].configuration] = Spread(statistics.fmean(each), statistics.stdev(each), len(each))
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
