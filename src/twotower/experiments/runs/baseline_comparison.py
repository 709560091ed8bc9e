"""The towers of a run against its baselines: whether one is better, and which differences users can show."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from twotower.evaluation.metrics.metric import Floats
from twotower.evaluation.power import ALPHA, POWER, detectable_differences, fewest_differing
from twotower.experiments.runs.fingerprint import DEFAULT_MONITOR, flatten
from twotower.experiments.runs.higher_is_better import higher_is_better
from twotower.experiments.runs.result import VALID, Result
from twotower.experiments.runs.result_parts import Power

LOG = logging.getLogger("twotower")
LARGEST_SHARE = 1 / 3
"""A split is too small if the difference it can show is above this share of the best baseline's metric."""
FIRST_LOOK = "sweep=first_look, which compares recipes of other kinds"


def worse_than_baseline(result: Result) -> tuple[str, str] | None:
    """Return the best baseline on the validation split and a warning, if it is better than the towers."""
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
    """Return what to try: a first look at other recipes, then the overrides that are not set yet."""
    current = flatten(settings)

    def is_set(key: str, value: str) -> bool:
        return str(current.get(key)).lower() in (value, value.replace("_", ""))  # the latter is a class

    untried = [text for text in overrides.split() if not is_set(*text.split("=", 1))]
    return ", or ".join(filter(None, [FIRST_LOOK, " ".join(untried)]))


def measure_power(
    metric: str, values: Mapping[str, Floats], num_users: Mapping[str, int], higher: bool | None
) -> dict[str, Power]:
    """Return what each split can show of a metric, by the paired differences of the two best baselines.

    Baselines with nearly the same lists as the best one are left out: they differ in too few users for a
    test. A single baseline is compared with its mean. The test split has as many differences as it has users,
    drawn from the validation users: its targets are not known before the final evaluation.
    """
    means = {name: float(each.mean()) for name, each in values.items()}
    ranked = sorted(means, key=lambda name: means[name], reverse=higher is not False)
    differing = {name: np.count_nonzero(values[name] != values[ranked[0]]) for name in ranked}
    pair = [*ranked[:1], *[name for name in ranked if differing[name] >= fewest_differing()][:1]]
    power = {}
    for split, number in num_users.items() if pair else ():
        other = values[pair[1]] if len(pair) > 1 else means[pair[0]]
        difference = float(detectable_differences((values[pair[0]] - other)[None], number)[0])
        power[split] = Power(
            metric=metric,
            num_users=number,
            difference=difference if isfinite(difference) else None,
            pair=pair,
            best_baseline=means[pair[0]],
            level=POWER,
            alpha=ALPHA,
        )
    return power


def report_power(
    power: Mapping[str, Power],
    metric: str,
    has_baselines: bool,
    size_settings: Callable[[str], Sequence[str]],
) -> None:
    """Log what each split can show: a warning if it is more than a third of the best baseline's metric.

    If it is unknown, the reason and a remedy are logged. `size_settings`: see `Split.Config`.
    """
    if not has_baselines:
        LOG.debug("power: unknown without baselines; baselines=standard adds them")
    elif not power:
        reason = f"{metric.replace('_at_', '@')} has no value per user"
        LOG.debug("power: unknown, because %s; trainer.monitor=%s has one", reason, DEFAULT_MONITOR)
    for split, found in power.items():
        name = "validation" if split == "valid" else split
        size = "no difference" if found.difference is None else f"a difference of {found.difference:.4f}"
        text = (
            f"{found.num_users:,} {name} users can show {size} in {found.metric.replace('_at_', '@')} with "
            f"{found.level:.0%} power (test at {found.alpha:.0%}, spread of {' against '.join(found.pair)})"
        )
        if found.difference is None or found.difference > LARGEST_SHARE * abs(found.best_baseline):
            settings = " or ".join(f"split.{name}" for name in size_settings(split))
            none = "no setting of this split gives it more users, so smaller differences cannot be shown"
            remedy = f"raise {settings} before comparing models on it" if settings else none
            LOG.warning("%s; the best baseline has %.4f: %s", text, found.best_baseline, remedy)
        else:
            LOG.debug("%s", text)
