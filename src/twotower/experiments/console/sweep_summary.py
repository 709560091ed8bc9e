"""The end of a sweep: its best job, its Pareto front of indexes, means over seeds, and lines on them."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from twotower.config.progress import duration_text
from twotower.experiments.compare.figure_names import INDEX_COLUMNS, format_figure, heading
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.folder_name import short_words
from twotower.experiments.runs.outcome import (
    Outcome,
    best_outcome,
    differ_in_index_only,
    initial_embeddings_note,
    lower_is_better,
    main_effects,
    pareto_front,
    pareto_points,
    rank_outcomes,
    varied_settings,
)
from twotower.experiments.runs.result import EPOCHS_KEPT, TEST

A_SEED = re.compile(r"seed=?(-?\d+)")


@dataclass(frozen=True)
class SeedSummary:
    """A metric over the seeds of one configuration, with Student's 95 % interval of the mean."""

    configuration: str
    """Varied overrides without the seed; empty if only the seed varies."""
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


class BestJob(NamedTuple):
    """The best job of a sweep, the metric that it is best by, and its value."""

    job: str
    metric: str
    value: float


@dataclass(frozen=True)
class SweepSummary:
    """The end of a sweep; `search` and `first_look` are as in `sweep.json`."""

    folder: Path
    metric: str
    outcomes: Sequence[Outcome]
    seconds: float = 0.0
    seeds: Sequence[SeedSummary] = ()
    search: Mapping[str, Any] = field(default_factory=dict)
    first_look: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    """Number of the other jobs, or configurations with several seeds, by verdict of `compare`."""

    @cached_property
    def best(self) -> BestJob | None:
        """The best job; None without one, or if only seed or index differ."""
        if found := self.first_look or self.search:
            best = found["best"]
            return best and BestJob(best["job"], found["metric"], best["value"])
        if differ_in_seed_only(self.outcomes) or differ_in_index_only(self.outcomes, self.metric):
            return None
        job = best_outcome(self.outcomes, self.metric)
        value = None if job is None else job.served(self.metric)
        return None if job is None or value is None else BestJob(job.name, self.metric, value)

    @cached_property
    def pareto(self) -> list[Outcome]:
        """The Pareto front of indexes, from best to worst; empty if the towers differ.

        The criteria are the metric through the index, latency and bytes. Rejected indexes are left out.
        """
        if self.search or self.first_look or not differ_in_index_only(self.outcomes, self.metric):
            return []
        usable = [each for each in self.outcomes if each.status == "ok"]
        names = {point.name for point in pareto_front(pareto_points(usable, self.metric)[1])}
        return [each for each in rank_outcomes(usable, self.metric) if each.name in names]

    @property
    def is_test_hidden(self) -> bool:
        """Whether no job looked at the test split."""
        figures = [key for each in self.outcomes for key in each.figures if each.finished]
        return bool(figures) and not any(key.startswith(f"{TEST}/") for key in figures)

    @property
    def counts(self) -> dict[str, int]:
        """The number of jobs by status."""
        return dict(Counter(outcome.status for outcome in self.outcomes))

    @cached_property
    def effects(self) -> list[str]:
        """The main effects of the varied keys on the validation metric through the index."""
        scores = {each.name: each.served(self.metric) for each in self.outcomes if each.finished}
        known = {name: score for name, score in scores.items() if score is not None}
        is_lower_better = lower_is_better(self.outcomes, self.metric)
        return main_effects(varied_settings(self.outcomes), known, self.metric, is_lower_better)

    def next_command(self) -> str:
        """Return the one command to go on with; empty without a best job, or after a first look."""
        job = next((each for each in self.outcomes if self.best and each.name == self.best.job), None)
        if job is None or not job.overrides or self.first_look:
            return ""
        if self.seeds:
            return shlex.join(["twotower", "compare", str(self.folder), "by=configuration"])
        typed = [text for text in job.overrides if override_key(text) != "seed"]
        return shlex.join(["twotower", "train", *typed, "seeds=3"])

    def settings(self, job: str) -> str:
        """Return the varied settings of a trial in short words; empty for a job of a grid."""
        trials = {row["job"]: row["overrides"] for row in self.search.get("trials", ())}
        return " ".join(short_words(trials.get(job, ())))

    def lines(self) -> Iterator[str]:
        """Yield Pareto front, means over seeds, main effects, number of jobs, and what to read last.

        The last lines are the best job, whether it differs from the others, and the command to go on with.
        If the test split is hidden, the command that reveals it for the best job follows.
        """
        for each in self.pareto:
            figures = (
                f"{heading(key)} {format_figure(key, each.served(key))}"
                for key in (self.metric, *INDEX_COLUMNS)
            )
            yield "  ".join([f"{'pareto':<10}", each.name, *figures])
        yield from map(str, self.seeds)
        found = self.first_look or self.search
        for name, reason in found.get("left_out", {}).items():
            yield f"left out    {name}: {reason}"
        yield from (f"effect      {line}" for line in self.effects)
        epochs = [each.figures.get(EPOCHS_KEPT, math.nan) for each in self.outcomes]
        for note in initial_embeddings_note(epochs, varied_settings(self.outcomes)):
            yield f"initial     {note}"
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items()) or "no jobs"
        yield f"sweep       {counts}  {duration_text(self.seconds)}  {self.folder}"
        if self.best is not None:
            job, metric, value = self.best
            figure = f"{heading(metric)} {format_figure(metric, value)}"
            yield f"best        {job}  {figure}  {self.settings(job)}".rstrip()
        if best := found.get("best"):
            if best.get("on") == "sample":
                yield "warning: no recipe was trained on all users; this is the best one on the sample"
            elif "windows" in found.get("stages", ()) and best["on"] != "windows":
                yield "warning: no recipe was trained on all windows; this is the best one on the newest"
            if best.get("behind_baseline"):
                yield "warning: the best baseline is better on the validation split"
            yield f"command     {best['command']}"
        elif self.first_look:
            yield "no recipe completed an epoch; increase sweep.minutes or decrease sweep.share"
        if self.verdicts:
            counted = ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts.items())
            yield f"tests       against the best by validation: {counted}"
        if command := self.next_command():
            yield f"next        {command}"
        if self.is_test_hidden and self.best is not None and (best or {}).get("on") != "sample":
            run = shlex.quote(str(self.folder / self.best.job))
            yield f"test hidden twotower evaluate run={run} test=reveal"


def differ_in_seed_only(outcomes: Collection[Outcome]) -> bool:
    """Return whether jobs differ in the seed only, so that the best is only the luckiest."""
    return bool(outcomes) and all(A_SEED.fullmatch(outcome.name) for outcome in outcomes)
