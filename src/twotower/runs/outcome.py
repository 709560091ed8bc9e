"""How a job of a sweep ended, as the console, the sweep's board and its table show it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twotower.runs.directions import INDEX_FIGURES, RECORDED, higher_is_better

FINISHED = ("ok", "index_rejected")
VALID, BEST_VALID = "valid/", "best_valid/"
COLD_START = {"model": "two towers", "content": "content neighbours", "random": "random (expected)"}
"""Who is asked for cold items, and what people call it."""


def became(result: Mapping[str, Any] | None) -> str:
    """Say what became of a run, as in "this run has not ended"."""
    if result is None:
        return "has not ended"
    return {"failed": "failed", "pruned": "was pruned"}.get(result["status"], f"is {result['status']}")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        name: of the job.
        status: ok, index_rejected, failed, pruned or interrupted.
        seconds: that the job took in this sweep.
        figures: final figures: `best_valid/...`, `test/...`, `index/...`, `timing/...`.
        reused_from: the run whose towers were taken, if any.
        folder: of the run.
        error: what went wrong, if anything.
        skipped: whether an earlier start of the sweep had ended it.
        configuration: equal for the seeds of one configuration; None where the job did not come so far.
        seed: of the job.
        higher_is_better: of its metrics by name, as the run recorded it.
    """

    name: str
    status: str
    seconds: float
    figures: Mapping[str, float]
    reused_from: str | None
    folder: Path
    error: str | None
    skipped: bool
    configuration: str | None = None
    seed: int | None = None
    higher_is_better: Mapping[str, bool | None] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the job came to its end, so that its figures are final."""
        return self.status in FINISHED

    def figure(self, metric: str) -> float | None:
        """Return a figure; `valid/...` is the best checkpoint's."""
        value = self.figures.get(_best(metric))
        return None if value is None or math.isnan(value) else value


def outcome_of(
    name: str, folder: Path, result: Mapping[str, Any] | None, seconds: float, skipped: bool
) -> Outcome:
    """Read a job's outcome off its `result.json`.

    Args:
        name: of the job.
        folder: of its run.
        result: what `result.json` holds, or None where the job left none: it was interrupted.
        seconds: that the job took in this sweep.
        skipped: whether an earlier start of the sweep had ended it.
    """
    found: Mapping[str, Any] = {"status": "interrupted"} if result is None else result
    problems = found.get("index", {}).get("problems") or []
    error = found.get("error") or ("; ".join(problems) if found["status"] == "index_rejected" else None)
    return Outcome(
        name=name,
        status=str(found["status"]),
        seconds=seconds,
        figures=final_scalars(found),
        reused_from=found.get("training_reused_from"),
        folder=folder,
        error=error,
        skipped=skipped,
        configuration=found.get("configuration"),
        seed=found.get("seed"),
        higher_is_better=found.get(RECORDED, {}),
    )


def by_metric(outcomes: Iterable[Outcome], metric: str) -> list[Outcome]:
    """Return outcomes from best to worst; those that did not finish after those that did.

    Args:
        outcomes: of a sweep.
        metric: of the validation split.
    """
    jobs = list(outcomes)
    sign = 1 if lowest_is_best(jobs, metric) else -1

    def key(outcome: Outcome) -> tuple[bool, float]:
        value = outcome.figure(metric)
        return not outcome.finished, math.inf if value is None else sign * value

    return sorted(jobs, key=key)


def lowest_is_best(outcomes: Iterable[Outcome], metric: str) -> bool:
    """Say whether of these jobs the one with the lowest figure is the best."""
    recorded = [{RECORDED: outcome.higher_is_better} for outcome in outcomes]
    return higher_is_better(metric, recorded) is False


def best_of(outcomes: Iterable[Outcome], metric: str) -> Outcome | None:
    """Return the best of the jobs that ended well, or None; one with a rejected index is never the best."""
    able = [each for each in outcomes if each.status == "ok" and each.figure(metric) is not None]
    return by_metric(able, metric)[0] if able else None


def final_scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """Return a run's final figures, which become the HPARAMS tab's columns.

    Of the test metrics those at the k of the metric that chooses, and of the validation metrics that one;
    `result.json` has them all. It is the best checkpoint's, under `best_valid/`, since `valid/` is the curve.
    A pruned run has it only, as far as it came.

    Args:
        result: what `result.json` holds, of a run that ended in any way.
    """
    metrics = result.get("metrics") or {
        key: _best_value(key, values, result)
        for key, values in result.get("curves", {}).items()
        if key.startswith(VALID) and values
    }
    monitor = str(result.get("training", {}).get("monitor", ""))
    k = monitor.rpartition("_at_")[2]
    index = result.get("index", {})
    figures = {
        **{
            _best(key): value
            for key, value in metrics.items()
            if key.startswith(VALID) and monitor in ("", key)
        },
        **{key: value for key, value in _at(k, metrics).items() if not key.startswith(VALID)},
        **_at(k, cold_start_figures(result)),
        **{f"index/{key}": index.get(key) for key in INDEX_FIGURES},
        **{f"index/drop_{key}": value for key, value in _at(k, index.get("label_metric_drop", {})).items()},
        **{f"timing/{key}": value for key, value in result.get("timing", {}).items()},
    }
    return {key: float(value) for key, value in figures.items() if value is not None}


def cold_start_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return recall on items held out of training by key, as `cold_start/model/cold/recall_at_20`.

    Args:
        result: what `result.json` holds; without such items there are no figures.
    """
    found = result.get("cold_start")
    asked = {who: found.get(who) for who in COLD_START} if isinstance(found, Mapping) else {}
    return {
        f"cold_start/{who}/{part}/{key}": value
        for who, parts in asked.items()
        for part, values in (parts.items() if isinstance(parts, Mapping) else ())
        for key, value in (values.items() if isinstance(values, Mapping) else ())
    }


def _best_value(key: str, values: Sequence[float], result: Mapping[str, Any]) -> float:
    return min(values) if higher_is_better(key, [result]) is False else max(values)


def _best(key: str) -> str:
    return BEST_VALID + key.removeprefix(VALID) if key.startswith(VALID) else key


def _at(k: str, values: Mapping[str, float]) -> dict[str, float]:
    """Keep values at k, and those that have no k; all if k is unknown."""
    return {key: value for key, value in values.items() if not k or key.rpartition("_at_")[2] in (k, key)}
