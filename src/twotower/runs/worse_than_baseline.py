"""Whether a baseline is better than the towers on the validation split."""

from collections.abc import Mapping
from typing import Any

from twotower.runs.fingerprint import flatten
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result

FIRST_LOOK = "sweep=first_look, which compares recipes of other kinds"


def worse_than_baseline(result: Result) -> tuple[str, str] | None:
    """Return the best baseline on the validation split and a warning if it is better than the towers.

    None otherwise, and if the baselines have no value of the metric (label metrics) or the towers were not
    validated.
    """
    key = result.training.monitor
    value = result.metrics.get(key)
    baselines = {name: values[key] for name, values in result.baselines.items() if key in values}
    if value is None or not baselines:
        return None
    sign = -1 if higher_is_better(key, [result.higher_is_better]) is False else 1
    best = max(baselines, key=lambda name: sign * baselines[name])
    if sign * baselines[best] <= sign * value:
        return None
    metric = key.removeprefix(VALID).replace("_at_", "@")
    return best, (
        f"on the validation split the baseline {best} is better than the towers: {metric} "
        f"{baselines[best]:.4f} against {value:.4f}"
    )


def suggestion(overrides: str, settings: Mapping[str, Any]) -> str:
    """Return what to try: a first look at other recipes, then the overrides that are not set yet.

    Args:
        overrides: overrides that may help, separated by spaces.
        settings: of the run.
    """
    current = flatten(settings)

    def is_set(key: str, value: str) -> bool:
        return str(current.get(key)).lower() in (value, value.replace("_", ""))  # the latter is a class

    untried = [text for text in overrides.split() if not is_set(*text.split("=", 1))]
    return ", or ".join(filter(None, [FIRST_LOOK, " ".join(untried)]))
