"""Several seeds of one configuration: their mean, and how far it may be off."""

import statistics
from collections.abc import Sequence

from twotower.reports.console.console import SeedSummary
from twotower.runs.folder_name import without_seed
from twotower.runs.outcome import Outcome


def summarise_seeds(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[SeedSummary]:
    """Summarise each configuration of which two seeds at least have ended.

    Args:
        outcomes: of a sweep's jobs.
        metrics: keys of `Outcome.figures`.
    """
    groups: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        if outcome.configuration is not None and outcome.seed is not None:
            groups.setdefault(outcome.configuration, {})[outcome.seed] = outcome
    found = []
    for seeds in groups.values():
        name = without_seed(next(iter(seeds.values())).name)
        for metric in metrics:
            values = [each.figures[metric] for each in seeds.values() if metric in each.figures]
            if len(values) > 1:
                found.append(_summary(name, metric, values))
    return found


def _summary(name: str, metric: str, values: list[float]) -> SeedSummary:
    from scipy import stats

    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
    return SeedSummary(name, metric, mean, sd, (mean - half, mean + half), len(values))
