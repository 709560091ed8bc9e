"""Whether a baseline is better than the towers on the validation split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twotower.runs.fingerprint import flatten
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result

FIRST_LOOK = "sweep=first_look, which compares recipes of other kinds"


@dataclass(frozen=True)
class WorseThanBaseline:
    """A baseline that is better than the towers.

    Attributes:
        baseline: its name.
        metric: as `valid/recall_at_20`.
        baseline_value: metric of the baseline.
        value: metric of the towers.
    """

    baseline: str
    metric: str
    baseline_value: float
    value: float

    def __str__(self) -> str:
        metric = self.metric.removeprefix(VALID).replace("_at_", "@")
        return (
            f"on the validation split the baseline {self.baseline} is better than the towers: {metric} "
            f"{self.baseline_value:.4f} against {self.value:.4f}"
        )


def suggestion(overrides: str, settings: Mapping[str, Any]) -> str:
    """Return what to try: a first look at other recipes, then the overrides that are not set yet.

    Args:
        overrides: overrides that may help, separated by spaces.
        settings: of the run.
    """
    current = flatten(settings)
    untried = []
    for text in overrides.split():
        key, _, value = text.partition("=")
        if str(current.get(key)).lower() not in (
            value,
            value.replace("_", ""),
        ):  # choice or class
            untried.append(text)
    return ", or ".join([FIRST_LOOK, *([" ".join(untried)] if untried else [])])


def worse_than_baseline(result: Result) -> WorseThanBaseline | None:
    """Return the best baseline on the validation split if it is better than the towers, else None.

    Also None if the baselines have no value of the metric (label metrics), or the towers were not validated.
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
