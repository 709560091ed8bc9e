"""What a search makes as large or as small as it can."""

from collections.abc import Mapping
from typing import Any, Literal

from twotower.config.problems import Problem, nearest, raise_problems
from twotower.runs.directions import INDEX_FIGURES, higher_is_better
from twotower.runs.result import Result

Direction = Literal["maximize", "minimize"]
VALID, INDEX, TEST = "valid/", "index/", "test/"
BETTER: dict[Direction, str] = {"maximize": "higher", "minimize": "lower"}


class Objectives:
    """Figures of a run and where they should go.

    Args:
        directions: key of `result.json` -> direction; at least one.
    """

    def __init__(self, directions: Mapping[str, Direction]) -> None:
        self.directions = dict(directions)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.directions)

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuse what no run with these settings reports.

        Raises:
            InputError: lists every such key.
        """
        from twotower.evaluation.evaluator import Evaluator

        keys = Evaluator.Config.model_validate(settings["metrics"]).keys()
        known = [f"{VALID}{key}" for key in keys] + [f"{INDEX}{name}" for name in INDEX_FIGURES]
        raise_problems(
            Problem(f"sweep.objectives.{key}", _refusal(key, known))
            for key in self.directions
            if key not in known
        )

    def check_ways(self, settings: Mapping[str, Any]) -> None:
        """Refuse to make as good as can be what is worse that way.

        Raises:
            InputError: lists every such objective.
        """
        ways = {key: way_of(key, settings) for key in self.directions}
        raise_problems(
            Problem(f"sweep.objectives.{key}", f"{key} is better the {BETTER[way]} it is; {way} it")
            for key, way in ways.items()
            if way is not None and way != self.directions[key]
        )

    def values(self, result: Result) -> list[float] | None:
        """Return a run's figures in the objectives' order; None if one is missing or no number."""
        figures = result.figures()
        return [figures[key] for key in self.directions] if self.directions.keys() <= figures.keys() else None


def way_of(key: str, settings: Mapping[str, Any]) -> Direction | None:
    """Return where a figure of runs with these settings should go; None where neither way is better."""
    from twotower.evaluation.evaluator import Evaluator

    ways = Evaluator.Config.model_validate(settings["metrics"]).higher_is_better()
    higher = higher_is_better(key, [ways])
    return None if higher is None else "maximize" if higher else "minimize"


def _refusal(key: str, known: list[str]) -> str:
    if key.startswith(TEST):
        valid = key.replace(TEST, VALID, 1)
        return (
            "the test split is read once, at the end: what is searched for on it is no longer a test; "
            f"use {valid if valid in known else 'a valid/ metric'}"
        )
    return f"no run reports it; {nearest(key, known)}"
