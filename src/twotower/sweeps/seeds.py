"""Several seeds of one configuration: their mean, and how far it may be off."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from twotower.runs.folder_name import without_seed
from twotower.runs.outcome import Outcome


@dataclass(frozen=True)
class SeedSummary:
    """A metric over the seeds of one configuration.

    Attributes:
        configuration: the varied overrides without the seed; empty where only the seed varies.
        metric: e.g. `test/recall_at_20`.
        mean: over the seeds.
        sd: sample standard deviation over the seeds.
        interval: 95 % interval of the mean, by Student's t.
        num_seeds: how many.
    """

    configuration: str
    metric: str
    mean: float
    sd: float
    interval: tuple[float, float]
    num_seeds: int

    def __str__(self) -> str:
        """Say it in one line."""
        low, high = self.interval
        return (
            f"{self.num_seeds} seeds     {self.metric.replace('_at_', '@')} {self.mean:.4f} "
            f"[{low:.4f}, {high:.4f}], sd {self.sd:.4f}  {self.configuration}".rstrip()
        )


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
