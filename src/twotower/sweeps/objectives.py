"""What a search makes as large or as small as it can: figures of a run, and where they should go."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from twotower.config.problems import Problem, nearest
from twotower.evaluation.user_values import k_of
from twotower.runs.higher_is_better import INDEX_FIGURES, higher_is_better
from twotower.runs.result import Result

if TYPE_CHECKING:
    from twotower.evaluation.evaluator import Evaluator

Direction = Literal["maximize", "minimize"]
Objectives = Mapping[str, Direction]
"""Key of `result.json` -> where it should go; at least one."""

VALID, INDEX, TEST = "valid/", "index/", "test/"
BETTER: dict[Direction, str] = {"maximize": "higher", "minimize": "lower"}


def objective_problems(objectives: Objectives, settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what no run with these settings reports, and what would be made as bad as can be."""
    keys = _evaluator(settings).keys()
    known = [f"{VALID}{key}" for key in keys] + [f"{INDEX}{name}" for name in INDEX_FIGURES]
    for key, direction in objectives.items():
        if key not in known:
            yield Problem(f"sweep.objectives.{key}", _refusal(key, known))
        elif key.startswith(VALID) and not k_of(key) and _gives_negatives(settings) is False:
            text = f"{key} needs labels, and the data tells of nothing shown in vain; use one with a k"
            yield Problem(f"sweep.objectives.{key}", text)
        elif (way := way_of(key, settings)) not in (None, direction):
            yield Problem(f"sweep.objectives.{key}", f"{key} is better the {BETTER[way]} it is; {way} it")


def way_of(key: str, settings: Mapping[str, Any]) -> Direction | None:
    """Return where a figure of runs with these settings should go; None where neither way is better."""
    higher = higher_is_better(key, [_evaluator(settings).higher_is_better()])
    return None if higher is None else "maximize" if higher else "minimize"


def values_of(objectives: Objectives, result: Result) -> list[float] | None:
    """Return a run's figures in the objectives' order; None if one is missing or no number."""
    figures = result.figures()
    return [figures[key] for key in objectives] if objectives.keys() <= figures.keys() else None


def _evaluator(settings: Mapping[str, Any]) -> "Evaluator.Config":
    """Return what tells of the metrics before they are built."""
    from twotower.evaluation.evaluator import Evaluator

    return Evaluator.Config.model_validate(settings["metrics"])


def _gives_negatives(settings: Mapping[str, Any]) -> bool | None:
    from twotower.data.sources.source import Source

    return Source.Config.model_validate(settings["data"]).gives_negatives()


def _refusal(key: str, known: list[str]) -> str:
    if key.startswith(TEST):
        valid = key.replace(TEST, VALID, 1)
        return (
            "the test split is read once, at the end: what is searched for on it is no longer a test; "
            f"use {valid if valid in known else 'a valid/ metric'}"
        )
    return f"no run reports it; {nearest(key, known)}"
