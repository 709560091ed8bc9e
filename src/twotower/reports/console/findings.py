"""The findings of a sweep: its best job, its order, its Pareto front of indexes, and means over seeds."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from twotower.reports.compare.figure_names import heading
from twotower.reports.pareto import front
from twotower.runs.folder_name import short_words
from twotower.runs.higher_is_better import INDEX_COSTS
from twotower.runs.outcome import (
    Ending,
    Outcome,
    best_outcome,
    differ_in_index_only,
    lower_is_better,
    rank_outcomes,
)

ENDINGS: tuple[Ending, ...] = ("ok", "index_rejected", "pruned", "failed", "interrupted")
A_SEED = re.compile(r"seed=?(-?\d+)")


@dataclass(frozen=True)
class SeedSummary:
    """A metric over the seeds of one configuration.

    Attributes:
        configuration: varied overrides without the seed; empty if only the seed varies.
        sd: standard deviation of the sample.
        interval: 95 % interval of the mean, by Student's t.
    """

    configuration: str
    metric: str
    mean: float
    sd: float
    interval: tuple[float, float]
    num_seeds: int

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.num_seeds} seeds     {heading(self.metric)} {self.mean:.4f} "
            f"[{low:.4f}, {high:.4f}], sd {self.sd:.4f}  {self.configuration}".rstrip()
        )


class Winner(NamedTuple):
    """The best job of a sweep, the metric that it is best by, and its value."""

    job: str
    metric: str
    value: float


@dataclass(frozen=True)
class Findings:
    """Findings of a sweep: means over seeds, and what `sweep.json` holds on a search or a first look."""

    seeds: Sequence[SeedSummary] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    look: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Mapping[str, Any] | None:
        """Return the best trial of a search, with its command."""
        return self.search.get("best")

    def settings(self, job: str) -> str:
        """Return the varied settings of a trial in short words; empty for a job of a grid."""
        return " ".join(short_words(self._trial(job).get("overrides", ())))

    def _trial(self, job: str) -> Mapping[str, Any]:
        return next((row for row in self.search.get("trials", ()) if row["job"] == job), {})

    def winner(self, outcomes: Sequence[Outcome], metric: str) -> Winner | None:
        """Return the best job; None without one, or if only seed or index differ."""
        if self.look:
            best = self.look["best"]
            return best and Winner(best["job"], self.look["metric"], best["value"])
        if self.search:
            best = self.best
            return None if best is None else Winner(best["job"], self.search["metric"], best["value"])
        undecided = differ_in_seed_only(outcomes) or differ_in_index_only(outcomes, metric)
        best = None if undecided else best_outcome(outcomes, metric)
        value = None if best is None else best.served(metric)
        return None if best is None or value is None else Winner(best.name, metric, value)

    def indexes(self, outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
        """Return the Pareto front of indexes, from best to worst; empty if the towers differ.

        The criteria are the metric through the index, latency and bytes. Rejected indexes are left out.
        """
        if self.search or self.look or not differ_in_index_only(outcomes, metric):
            return []
        usable = [
            each
            for each in rank_outcomes(outcomes, metric)
            if each.status == "ok" and each.figure(INDEX_COSTS[0]) is not None
        ]
        sign = 1 if lower_is_better(usable, metric) else -1
        criteria = [
            (sign * (each.served(metric) or 0.0), *(each.figures[key] for key in INDEX_COSTS))
            for each in usable
        ]
        return [usable[at] for at in sorted(front(criteria))]


NOTHING = Findings()


def rank_jobs(outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
    """Return outcomes from best to worst; seeds in numeric order."""
    if differ_in_seed_only(outcomes):
        return sorted(outcomes, key=lambda outcome: int(outcome.name.removeprefix("seed").lstrip("=")))
    return rank_outcomes(outcomes, metric)


def differ_in_seed_only(outcomes: Collection[Outcome]) -> bool:
    """Return whether jobs differ in the seed only, so that the best is only the luckiest."""
    return bool(outcomes) and all(A_SEED.fullmatch(outcome.name) for outcome in outcomes)


def count_endings(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the number of jobs by status."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in ENDINGS if counts[status]}
