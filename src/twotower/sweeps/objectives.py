"""Objectives of a search: figures of a run, and whether to maximize or minimize them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from twotower.config.problems import Problem, nearest
from twotower.evaluation.user_values import metric_k
from twotower.runs.higher_is_better import INDEX_FIGURES, higher_is_better
from twotower.runs.result import Result

if TYPE_CHECKING:
    from twotower.evaluation.evaluator import Evaluator

Direction = Literal["maximize", "minimize"]
Objectives = Mapping[str, Direction]
"""Key of `result.json` -> direction; at least one."""

VALID, INDEX, TEST = "valid/", "index/", "test/"
BETTER: dict[Direction, str] = {"maximize": "higher", "minimize": "lower"}


def objective_problems(objectives: Objectives, settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield objectives that no run with these settings reports, and those with the wrong direction."""
    keys = _evaluator(settings).keys()
    reported = [f"{VALID}{key}" for key in keys] + [f"{INDEX}{name}" for name in INDEX_FIGURES]
    for key, direction in objectives.items():
        if key not in reported:
            text = f"no run reports it; {nearest(key, reported)}"
            if key.startswith(TEST):
                valid = key.replace(TEST, VALID, 1)
                text = (
                    "a search must not use the test split, or its test metrics would be biased; "
                    f"use {valid if valid in reported else 'a valid/ metric'}"
                )
            yield Problem(f"sweep.objectives.{key}", text)
        elif key.startswith(VALID) and not metric_k(key) and _gives_negatives(settings) is False:
            text = f"{key} needs impressions without a click, which the data lacks; use a metric with a k"
            yield Problem(f"sweep.objectives.{key}", text)
        elif (best := objective_direction(key, settings)) not in (None, direction):
            yield Problem(f"sweep.objectives.{key}", f"{key} is better if {BETTER[best]}; {best} it")


def objective_direction(key: str, settings: Mapping[str, Any]) -> Direction | None:
    """Return the direction of a figure of runs with these settings; None without a preferred direction."""
    higher = higher_is_better(key, [_evaluator(settings).higher_is_better()])
    return None if higher is None else "maximize" if higher else "minimize"


def objective_values(objectives: Objectives, result: Result) -> list[float] | None:
    """Return the objectives of a run in order; None if one is missing or not a number."""
    figures = result.figures()
    return [figures[key] for key in objectives] if objectives.keys() <= figures.keys() else None


def _evaluator(settings: Mapping[str, Any]) -> "Evaluator.Config":
    """Return the typed settings of the metrics."""
    from twotower.evaluation.evaluator import Evaluator

    return Evaluator.Config.model_validate(settings["metrics"])


def _gives_negatives(settings: Mapping[str, Any]) -> bool | None:
    from twotower.data.sources.source import Source

    return Source.Config.model_validate(settings["data"]).gives_negatives()
