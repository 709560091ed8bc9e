"""Whether a baseline is better than the towers on the validation split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twotower.runs.fingerprint import flat
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result

FIRST_LOOK = "sweep=first_look, which compares recipes of other kinds"


@dataclass(frozen=True)
class WorseThanBaseline:
    """A baseline that is better than the towers.

    Attributes:
        baseline: its name.
        metric: as `valid/recall_at_20`.
        its: value of the baseline.
        ours: value of the towers.
    """

    baseline: str
    metric: str
    its: float
    ours: float

    def __str__(self) -> str:
        metric = self.metric.removeprefix(VALID).replace("_at_", "@")
        return (
            f"on the validation split the baseline {self.baseline} is ahead of the towers: {metric} "
            f"{self.its:.4f} against {self.ours:.4f}"
        )


def suggestion(lesson: str, settings: Mapping[str, Any]) -> str:
    """Return what to try: a first look at other recipes, then the overrides that are not set yet.

    Args:
        lesson: overrides that may help, separated by spaces.
        settings: of the run.
    """
    known = flat(settings)
    left = [text for text in lesson.split() if not _is_set(text, known)]
    return ", or ".join([FIRST_LOOK, *([" ".join(left)] if left else [])])


def _is_set(text: str, known: Mapping[str, object]) -> bool:
    """Return whether a key has its value; a choice is recognized by its class."""
    key, _, value = text.partition("=")
    return str(known.get(key)).lower() in (value, value.replace("_", ""))


def worse_than_baseline(result: Result) -> WorseThanBaseline | None:
    """Return the best baseline on the validation split if it is better than the towers, else None.

    None too if baselines have no value of the metric (label metrics), or the towers were not validated.
    """
    metric = result.training.monitor
    ours = result.metrics.get(metric)
    figures = {name: values[metric] for name, values in result.baselines.items() if metric in values}
    if ours is None or not figures:
        return None
    sign = -1 if higher_is_better(metric, [result.higher_is_better]) is False else 1
    best = max(figures, key=lambda name: sign * figures[name])
    return (
        WorseThanBaseline(best, metric, figures[best], ours) if sign * figures[best] > sign * ours else None
    )
