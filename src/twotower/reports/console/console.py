"""What a console can be told: how a run goes, how a sweep goes, and what a sweep found."""

import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from twotower.reports.pareto import pareto_front, pareto_points
from twotower.runs.folder_name import short_words
from twotower.runs.outcome import (
    Ending,
    Outcome,
    best_of,
    differ_in_index_only,
    lowest_is_best,
    rank_outcomes,
)
from twotower.runs.result import Result

FORMS = {"latency": "{:.3f}", "seconds": "{:.2f}", "bytes": "{:,.0f}", "queries": "{:,.0f}"}
ENDINGS: tuple[Ending, ...] = ("ok", "index_rejected", "pruned", "failed", "interrupted")
A_SEED = re.compile(r"seed=?(-?\d+)")


@dataclass(frozen=True)
class SeedSummary:
    """A metric over the seeds of one configuration (varied overrides without the seed, empty if that is all).

    `sd` is the sample's, `interval` of 95 % for the mean, by Student's t.
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
            f"{self.num_seeds} seeds     {self.metric.replace('_at_', '@')} {self.mean:.4f} "
            f"[{low:.4f}, {high:.4f}], sd {self.sd:.4f}  {self.configuration}".rstrip()
        )


class Winner(NamedTuple):
    """The one job that is better than all others: its name, by which figure, and how good that is."""

    job: str
    metric: str
    value: float


@dataclass(frozen=True)
class Findings:
    """What a sweep found: of configurations with several seeds, and what `sweep.json` says of a search or of
    a first look.
    """

    seeds: Sequence[SeedSummary] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    look: Mapping[str, Any] = field(default_factory=dict)

    @property
    def objectives(self) -> dict[str, str]:
        """Return the objectives of a search, with `maximize` or `minimize`."""
        return dict(self.search.get("objectives", {}))

    @property
    def best(self) -> list[Mapping[str, Any]]:
        """Return a search's best trial or its Pareto set, each with its command."""
        return list(self.search.get("best", ()))

    @property
    def command(self) -> str | None:
        """Return what to type to train again what is best; None of a grid, or where nothing is."""
        best = (self.look.get("best"), *self.best[:1])
        return next((str(each["command"]) for each in best if each), None)

    def values(self, job: str) -> dict[str, float]:
        """Return what a trial reached of each objective; nothing of one without all of them."""
        return dict(self._trial(job).get("values") or {})

    def settings(self, job: str) -> str:
        """Return what varies, as this trial has it, shortened to be read; nothing for a job of a grid."""
        return " ".join(short_words(self._trial(job).get("overrides", ())))

    def _trial(self, job: str) -> Mapping[str, Any]:
        return next((row for row in self.search.get("trials", ()) if row["job"] == job), {})

    def winner(self, outcomes: Sequence[Outcome], metric: str) -> Winner | None:
        """Return the best job; None if no job is good, or several objectives, seeds or indexes compete."""
        if self.look:
            best = self.look["best"]
            return best and Winner(best["job"], self.look["metric"], best["value"])
        if self.search:
            if len(self.objectives) != 1 or not self.best:
                return None
            (objective,) = self.objectives
            return Winner(self.best[0]["job"], objective, self.best[0]["values"][objective])
        undecided = differ_in_seed_only(outcomes) or differ_in_index_only(outcomes, metric)
        found = None if undecided else best_of(outcomes, metric)
        value = None if found is None else found.served(metric)
        return None if found is None or value is None else Winner(found.name, metric, value)

    def indexes(self, outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
        """Return the jobs whose index no other dominates, from best to worst; none where towers differ.

        What counts is the metric through the index, latency and bytes. Rejected indexes do not take part.
        """
        if self.search or self.look or not differ_in_index_only(outcomes, metric):
            return []
        able = [each for each in outcomes if each.status == "ok"]
        names = {point.name for point in pareto_front(pareto_points(able, metric)[1])}
        return [each for each in rank_outcomes(able, metric) if each.name in names]

    def goes_by(self, outcomes: Sequence[Outcome], metric: str) -> bool:
        """Say whether jobs compete by this metric alone, and in the direction that is its better one."""
        way = "minimize" if lowest_is_best(outcomes, metric) else "maximize"
        return self.objectives in ({}, {metric: way})

    def ranked(self, outcomes: Sequence[Outcome], metric: str) -> list[Outcome]:
        """Return outcomes from best to worst; seeds, which do not compete, in their own order."""
        if differ_in_seed_only(outcomes):
            return sorted(outcomes, key=lambda outcome: int(outcome.name.removeprefix("seed").lstrip("=")))
        ranked = rank_outcomes(outcomes, metric)
        if self.goes_by(outcomes, metric):
            return ranked
        objective, direction = next(iter(self.objectives.items()))
        sign = -1.0 if direction == "maximize" else 1.0

        def place(outcome: Outcome) -> tuple[bool, float]:
            return not outcome.finished, sign * self.values(outcome.name).get(objective, sign * math.inf)

        return sorted(ranked, key=place)


NOTHING = Findings()


def differ_in_seed_only(outcomes: Collection[Outcome]) -> bool:
    """Say whether jobs differ in nothing but the seed: the best of them would be the luckiest."""
    return bool(outcomes) and all(A_SEED.fullmatch(outcome.name) for outcome in outcomes)


def form_of(key: str) -> str:
    """Return the format of a figure of `result.json`."""
    return next((form for word, form in FORMS.items() if key.startswith("index/") and word in key), "{:.4f}")


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many jobs ended how, the good ones first."""
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in ENDINGS if counts[status]}


class Console:
    """Where runs and sweeps say how they go; entered as a context, so that what it draws live is closed.

    This one, for a job whose sweep speaks for it, shows warnings on standard error and nothing else. Others
    extend it by what they show, and know the sweep that began by its folder and its metric.
    """

    folder = Path()
    metric = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def handler(self) -> logging.Handler:
        """Return what shows the log lines of a run; records with `for_file` set are not for the screen."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        handler.addFilter(for_screen)
        return handler

    def say(self, text: str) -> None:
        """Say one line."""

    def draw(self, text: str) -> None:
        """Draw a line in the place of the one drawn before, where there is a terminal."""

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show the audit of the split: name and value."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Show what a run ends with."""

    def step(self, name: str, lines: Sequence[str], fields: Mapping[str, Any]) -> None:
        """Tell a step of a run's walkthrough: its name, for people, and for programs."""

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Say that a sweep begins: its jobs, those done before too, and how many train, if known."""
        self.folder, self.metric = folder, metric

    def job_started(self, name: str, tries: str = "") -> None:
        """Say that a job begins, and what it tries where its name does not say it."""

    def job_ended(self, outcome: Outcome) -> None:
        """Say how a job ended, also of those that an earlier start of the sweep had ended."""

    def beat(self, running: Sequence[str]) -> None:
        """Take note of what is running; called about once a second."""

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Show what a sweep ends with, and what it found beyond the jobs' own figures."""

    def close(self) -> None:
        """End what is drawn live, if anything; may be called twice."""


def for_screen(record: logging.LogRecord) -> bool:
    """Tell whether a record is for the screen, and not for the log file only."""
    return not getattr(record, "for_file", False)
