"""How jobs of a sweep ended, for the console, TensorBoard and its table; Pareto front and main effects."""

import itertools
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from twotower.experiments.compare.figure_names import format_figure
from twotower.experiments.runs.fingerprint import override_key
from twotower.experiments.runs.higher_is_better import (
    INDEX_COSTS,
    INDEX_DIFFERENCE,
    INDEX_RECALL,
    higher_is_better,
)
from twotower.experiments.runs.result import VALID, Result, Status, best_key

Ending = Literal[Status, "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended, and its final figures: `best_valid/...`, `test/...`, `index/...`, `timing/...`.

    Attributes:
        seconds: duration in this sweep.
        skipped: whether the job ended in an earlier start of the sweep.
        configuration: equal for the seeds of one configuration; None if the job failed early.
    """

    name: str
    status: Ending
    seconds: float
    figures: Mapping[str, float]
    reused_from: str | None
    folder: Path
    error: str | None
    skipped: bool
    configuration: str | None = None
    seed: int | None = None
    overrides: Sequence[str] = ()
    higher_is_better: Mapping[str, bool | None] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the job completed, so that its figures are final."""
        return self.status in ("ok", "index_rejected")

    def figure(self, metric: str) -> float | None:
        """Return a figure; for `valid/...` of the best checkpoint."""
        value = self.figures.get(best_key(metric))
        return None if value is None or math.isnan(value) else value

    def served(self, metric: str) -> float | None:
        """Return a figure of the lists that the index serves, if the difference was measured."""
        value = self.figure(metric)
        difference = self.figures.get(f"{INDEX_DIFFERENCE}{metric.removeprefix(VALID)}", 0.0)
        return value if value is None or not metric.startswith(VALID) else value + difference


def make_outcome(name: str, folder: Path, result: Result | None, seconds: float, skipped: bool) -> Outcome:
    """Return the outcome of a job with this result; without a result it was interrupted."""
    if result is None:
        return Outcome(name, "interrupted", seconds, {}, None, folder, None, skipped)
    error = result.error
    if result.status == "index_rejected":
        error = error or "; ".join(result.index.get("problems", ()))
    return Outcome(
        name=name,
        status=result.status,
        seconds=seconds,
        figures=result.final_figures(),
        reused_from=result.training_reused_from,
        folder=folder,
        error=error,
        skipped=skipped,
        configuration=result.configuration,
        seed=result.seed,
        overrides=tuple(result.overrides),
        higher_is_better=result.higher_is_better,
    )


def rank_outcomes(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """Return outcomes from best to worst by the metric through the index; unfinished jobs come last.

    Where only indexes differ, latency and bytes decide between equal metrics.
    """
    jobs = list(outcomes)
    sign = 1 if lower_is_better(jobs, metric) else -1
    costs = INDEX_COSTS if differ_in_index_only(jobs, metric) else ()

    def key(outcome: Outcome) -> tuple[bool, float, list[float]]:
        value = outcome.served(metric)
        cost = [outcome.figures.get(name, math.inf) for name in costs]
        return not outcome.finished, math.inf if value is None else sign * value, cost

    return sorted(jobs, key=key)


def differ_in_index_only(outcomes: Iterable[Outcome], metric: str) -> bool:
    """Return whether all jobs have the same value of a metric and their indexes differ."""
    done = [each for each in outcomes if each.finished]
    towers = {each.figure(metric) for each in done}
    indexes = {tuple(map(each.figures.get, (INDEX_RECALL, INDEX_COSTS[1]))) for each in done}
    return len(towers) == 1 < len(indexes)


def lower_is_better(outcomes: Iterable[Outcome], metric: str) -> bool:
    """Return whether lower values of the metric are better."""
    return higher_is_better(metric, (outcome.higher_is_better for outcome in outcomes)) is False


def best_outcome(outcomes: Iterable[Outcome], metric: str) -> Outcome | None:
    """Return the best job with the status `ok`; None if there is none."""
    candidates = [each for each in outcomes if each.status == "ok" and each.figure(metric) is not None]
    return rank_outcomes(candidates, metric)[0] if candidates else None


ACTS_IN_TRAINING = re.compile(r"(optimizer|negatives)(\..+)?|.+\.(\w+_)?dropout|objective\.batch_size")
"""Keys that change nothing of the initial embeddings."""


def initial_embeddings_note(epochs_kept: Iterable[float], keys: Iterable[str]) -> Iterator[str]:
    """Yield how many runs kept the initial embeddings, and which of the varied keys act in training only."""
    numbers = [number for number in epochs_kept if number is not None and not math.isnan(number)]
    if num_initial := numbers.count(0):
        acted = [key for key in keys if ACTS_IN_TRAINING.fullmatch(key)]
        verb = f"; {', '.join(acted)} acted on nothing that was kept" if acted else ""
        yield (
            f"{num_initial} of {len(numbers)} runs kept the initial embeddings (0 epochs){verb}; "
            "initialization=random has other ones, trainer.initial_share=0 keeps the best epoch"
        )


def varied_settings(outcomes: Iterable[Outcome]) -> dict[str, dict[str, str]]:
    """Return key -> job -> value of the overrides that are not equal in all jobs."""
    typed = {
        each.name: {override_key(text): text.partition("=")[2] for text in each.overrides}
        for each in outcomes
    }
    keys = dict.fromkeys(key for settings in typed.values() for key in settings)
    values = {key: {job: settings.get(key, "") for job, settings in typed.items()} for key in keys}
    return {key: by_job for key, by_job in values.items() if len(set(by_job.values())) > 1}


@dataclass(frozen=True)
class Point:
    """One job: objective, median latency of one query, and index bytes per item."""

    name: str
    value: float
    latency_ms: float
    bytes_per_item: float
    higher_is_better: bool = True

    @property
    def rank_value(self) -> float:
        """Return the value, negated if higher is better, so that lower is better as for the costs."""
        return -self.value if self.higher_is_better else self.value


def pareto_points(outcomes: Iterable[Outcome], metric: str) -> tuple[str, list[Point]]:
    """Return a title of the metric, and a point for each job with an index."""
    done = [each for each in outcomes if each.finished and each.figure(INDEX_COSTS[0]) is not None]
    kind, (latency, size) = metric.removeprefix(VALID), INDEX_COSTS
    through = any(f"{INDEX_DIFFERENCE}{kind}" in each.figures for each in done)
    higher = not lower_is_better(done, metric)
    title = f"{kind.replace('_at_', '@')} on valid, {'through the index' if through else 'by exact search'}"
    points = [
        Point(each.name, value, each.figures[latency], each.figures[size], higher)
        for each in done
        if (value := each.served(metric)) is not None
    ]
    return title + ("" if higher else " (lower is better)"), points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point dominates in value, latency and bytes, the best first."""
    criteria = [(each.rank_value, each.latency_ms, each.bytes_per_item) for each in points]
    return [points[at] for at in front(criteria)]


def front(criteria: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the positions that no other one dominates, in the order of their criteria; lower is better.

    Of equal ones, the first is returned.
    """
    best: list[int] = []
    for at in sorted(range(len(criteria)), key=criteria.__getitem__):
        if not any(all(map(operator.le, criteria[other], criteria[at])) for other in best):
            best.append(at)
    return best


def main_effects(
    settings: Mapping[str, Mapping[str, str]], scores: Mapping[str, float], metric: str, is_lower_better: bool
) -> list[str]:
    """Return a line per key, the largest effect first: its best value against each other one.

    A difference is the mean over pairs of runs that differ in this key alone, with the number of pairs that
    have its sign. Keys without a pair are left out.

    Args:
        settings: key -> run -> value.
        scores: run -> value of the metric.
    """
    sign = -1 if is_lower_better else 1
    lines: list[tuple[float, str]] = []
    for key in settings.keys() - {"seed"}:
        groups: dict[tuple[str, ...], list[tuple[str, float]]] = {}
        for run, score in scores.items():
            others = tuple(values[run] for other, values in settings.items() if other != key)
            groups.setdefault(others, []).append((settings[key][run], score))
        gains: dict[str, dict[str, list[float]]] = {}  # value -> other value -> differences
        pairs = itertools.chain.from_iterable(itertools.permutations(each, 2) for each in groups.values())
        for (value, score), (other, other_score) in pairs:
            if value != other:
                gains.setdefault(value, {}).setdefault(other, []).append(score - other_score)
        if not gains:
            continue
        best = max(gains, key=lambda value: sign * fmean(itertools.chain(*gains[value].values())))
        size = max(abs(fmean(each)) for each in gains[best].values())
        parts = [_part(other, differences, metric) for other, differences in gains[best].items()]
        lines.append((size, f"{key}={best}  {', '.join(parts)}"))
    return [line for _, line in sorted(lines, key=lambda each: (-each[0], each[1]))]


def _part(other: str, differences: list[float], metric: str) -> str:
    mean = fmean(differences)
    if not any(differences):
        return f"equal to {other} in all {len(differences)} pairs"
    agreeing = sum(difference * mean > 0 for difference in differences)
    difference = format_figure(metric, mean, sign=True)
    return f"{difference} against {other} ({agreeing} of {len(differences)} pairs agree)"
