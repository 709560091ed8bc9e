"""Tunes the settings of baselines on the validation split."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from twotower.config.errors import InputError
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, Budget, OutOfTime, TriedValues
from twotower.evaluation.baselines.baseline_runner import BaselineReports, BaselineRunner
from twotower.evaluation.user_values import metric_name

LOG = logging.getLogger("twotower")
Measure = Callable[[Baseline.Config], float | None]
"""Settings -> their metric; None if they do not suit the data."""


class SettingsSearch:
    """The search for the best settings of one baseline, from settings with a known metric."""

    def __init__(self, config: Baseline.Config, value: float, higher: bool, measure: Measure) -> None:
        self.best, self.value = config, value
        self.tried: list[tuple[Baseline.Config, float | None]] = [(config, value)]
        self._sign, self._measure = 1 if higher else -1, measure

    def run(self, space: Iterable[tuple[str, TriedValues]]) -> bool:
        """Choose the value of one setting after the other; returns whether the time sufficed."""
        try:
            for name, grid in space:
                self.choose(name, grid)
        except OutOfTime:
            return False
        return True

    def choose(self, name: str, grid: TriedValues) -> None:
        """Choose the value of a setting, the nearest first; an equal metric is not better."""
        start = getattr(self.best, name)
        above = sorted(value for value in grid.values if value > start)
        below = sorted((value for value in grid.values if value < start), reverse=True)
        for values in (above, below):
            for value in values:
                if not self._is_better(name, value) and grid.one_peak:
                    break
            if grid.one_peak and getattr(self.best, name) != start:
                return

    def _is_better(self, name: str, value: float) -> bool:
        config = self.best.model_copy(update={name: value})
        measured = self._measure(config)
        self.tried.append((config, measured))
        if measured is None or self._sign * measured <= self._sign * self.value:
            return False
        self.best, self.value = config, measured
        return True


def tune(runner: BaselineRunner, configs: Mapping[str, Baseline.Config], metric: str) -> BaselineReports:
    """Run all baselines with their defaults, then tune one after the other in the remaining time.

    Args:
        runner: on the validation split; its budget is the time limit.
        configs: of the baselines by name.
        metric: that chooses settings; see `Evaluator.Config.list_metric`.
    """
    defaults, by_metric = runner.run(configs), replace(runner, evaluator=runner.evaluator.only(metric))
    higher = runner.evaluator.config.higher_is_better()[metric_name(metric)] is not False
    tuned, reports, record = dict(configs), dict(defaults.reports), {}
    earlier: list[Baseline.Config] = []
    for name, report in defaults.reports.items():
        if space := free_settings(configs[name], earlier, runner.past):
            began, measure = time.monotonic(), partial(measure_settings, by_metric, metric, name)
            search = SettingsSearch(configs[name], report.metrics[metric], higher, measure)
            is_complete, names = search.run(space), dict(space)
            if search.best != configs[name]:  # no limit: these settings have been fitted within the time
                unlimited = replace(runner, past=replace(runner.past, budget=Budget()))
                tuned[name] = search.best
                reports[name] = unlimited.run({name: search.best}).reports[name]
            tried = [({each: getattr(one, each) for each in names}, value) for one, value in search.tried]
            record[name] = {
                "chosen": {each: getattr(search.best, each) for each in names},
                "tried": [{"settings": settings, "value": value} for settings, value in tried],
                "seconds": round(time.monotonic() - began, 3),
                "complete": is_complete,
            }
        earlier.append(tuned[name])
    return replace(defaults, configs=tuned, reports=reports, tuning=record)


def measure_settings(runner: BaselineRunner, metric: str, name: str, config: Baseline.Config) -> float | None:
    """Return the metric of a baseline with some settings; None if they do not suit the data."""

    def compute() -> np.ndarray:
        try:
            rows = runner.rank(name, config)
        except InputError:
            return np.array(np.nan)
        popularity = runner.past.row_popularity
        return np.array(runner.evaluator.means_and_values(rows, runner.holdout, popularity)[0][metric])

    value = float(runner.cache.get_or_compute(config, compute, runner.evaluator.config))
    return None if math.isnan(value) else value


def log_tuning(reports: BaselineReports, metric: str, minutes: float) -> None:
    """Log the cost of a tuning, and the baselines whose tuning did not fit into the time."""
    records = reports.tuning.values()
    LOG.debug(
        "baselines: tuned %d of %d on validation in %.1f s (%d settings by %s)",
        *(len(records), len(reports.reports), sum(each["seconds"] for each in records)),
        *(sum(len(each["tried"]) for each in records), metric.replace("_at_", "@")),
    )
    if late := [name for name, each in reports.tuning.items() if not each["complete"]]:
        LOG.warning(
            "baselines.minutes=%g ended the tuning of %s: the best settings so far are used; raise it or "
            "choose baselines=fixed",
            *(minutes, ", ".join(late)),
        )


def free_settings(
    config: Baseline.Config, earlier: Iterable[Baseline.Config], past: BaselineData
) -> list[tuple[str, TriedValues]]:
    """Return the settings to choose, in order: those that are not set explicitly.

    A setting that an earlier baseline of a base class has, too, begins with that value, because the two share
    the fit; all its values are tried when the other settings have been chosen.
    """
    space = {name: grid for name, grid in config.space(past).items() if name not in config.model_fields_set}
    known = {
        name: getattr(base, name)
        for base in earlier
        if isinstance(config, type(base))
        for name in space
        if hasattr(base, name)
    }
    first = [(name, TriedValues((known[name],)) if name in known else grid) for name, grid in space.items()]
    return [*first, *((name, with_value(space[name], getattr(config, name))) for name in known)]


def with_value(grid: TriedValues, value: float) -> TriedValues:
    """Return a grid with one more value, such as the default."""
    return grid._replace(values=(*grid.values, value))
