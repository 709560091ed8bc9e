"""Tunes the settings of baselines on the validation split."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout
from twotower.evaluation.baselines.baseline import Axis, Baseline, BaselineData, Budget, OutOfTime
from twotower.evaluation.baselines.run_baselines import (
    BaselineReports,
    ListCache,
    rank_by_baseline,
    run_baselines,
)
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.user_values import metric_k, metric_name

LOG = logging.getLogger("twotower")
Measure = Callable[[Baseline.Config], float | None]
"""Settings -> their metric; None if they do not suit the data."""


@dataclass(frozen=True)
class TunedBaselines:
    """Baselines with the chosen settings.

    Attributes:
        configs: of all baselines by name.
        reports: on the validation split, with these settings.
        record: name -> chosen settings, tried settings with their values, seconds, whether all were tried.
    """

    configs: Mapping[str, Baseline.Config]
    reports: BaselineReports
    record: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def log(self, metric: str, minutes: float) -> None:
        """Log the cost of the tuning, and the baselines whose tuning did not fit into the time."""
        number = sum(len(each["tried"]) for each in self.record.values())
        seconds = sum(each["seconds"] for each in self.record.values())
        LOG.info(
            "baselines: tuned %d of %d on validation in %.1f s (%d settings by %s)",
            *(len(self.record), len(self.reports.reports), seconds, number, metric.replace("_at_", "@")),
        )
        if late := [name for name, each in self.record.items() if not each["complete"]]:
            LOG.warning(
                "baselines.minutes=%g ended the tuning of %s: the best settings so far are used; raise it or "
                "choose baselines=fixed",
                *(minutes, ", ".join(late)),
            )


class Search:
    """The search for the best settings of one baseline, one setting after the other.

    Args:
        config: settings to start from.
        value: their metric.
        higher: whether higher values are better.
        measure: measures other settings.
    """

    def __init__(self, config: Baseline.Config, value: float, higher: bool, measure: Measure) -> None:
        self.best, self.value = config, value
        self.tried: list[tuple[Baseline.Config, float | None]] = [(config, value)]
        self._sign, self._measure = 1 if higher else -1, measure

    def choose(self, name: str, axis: Axis) -> None:
        """Choose the value of a setting, the nearest first; an equal metric is not better."""
        start = getattr(self.best, name)
        above = sorted(value for value in axis.values if value > start)
        below = sorted((value for value in axis.values if value < start), reverse=True)
        for values in (above, below):
            for value in values:
                if not self._is_better(name, value) and axis.one_peak:
                    break
            if axis.one_peak and getattr(self.best, name) != start:
                return

    def _is_better(self, name: str, value: float) -> bool:
        config = self.best.model_copy(update={name: value})
        measured = self._measure(config)
        self.tried.append((config, measured))
        if measured is None or self._sign * measured <= self._sign * self.value:
            return False
        self.best, self.value = config, measured
        return True


@dataclass(frozen=True)
class Tuner:
    """Chooses settings of baselines by a metric on the validation split, in the remaining time.

    Args:
        past: input of the fits, with `is_tuning`; its budget is the time limit.
        holdout: the validation split.
        evaluator: of the reports.
        metric: that chooses; see `tuning_metric`.
        cache: of lists and metrics.
    """

    past: BaselineData
    holdout: Holdout
    evaluator: Evaluator
    metric: str
    cache: ListCache | None = None

    def tune(self, configs: Mapping[str, Baseline.Config]) -> TunedBaselines:
        """Run all baselines with their defaults, then tune one after the other.

        Raises:
            InputError: a setting does not suit the data.
        """
        defaults = run_baselines(configs, self.past, self.holdout, self.evaluator, self.cache)
        tuned, reports, record = dict(configs), dict(defaults.reports), {}
        earlier: list[Baseline.Config] = []
        for name, report in defaults.reports.items():
            if space := free_settings(configs[name], earlier, self.past):
                tuned[name], reports[name], record[name] = self._tune(name, configs[name], report, space)
            earlier.append(tuned[name])
        return TunedBaselines(tuned, replace(defaults, reports=reports), record)

    def _tune(
        self, name: str, config: Baseline.Config, report: Report, space: Mapping[str, Axis]
    ) -> tuple[Baseline.Config, Report, dict[str, Any]]:
        """Return the chosen settings of a baseline, their report and the record of the search."""
        began, is_complete = time.monotonic(), True
        higher = self.evaluator.config.higher_is_better()[metric_name(self.metric)] is not False
        search = Search(config, report.metrics[self.metric], higher, partial(self._measure, name))
        try:
            for setting, axis in space.items():
                search.choose(setting, axis)
        except OutOfTime:
            is_complete = False
        if search.best != config:  # without a limit: these settings have been fitted within the time
            config, past = search.best, replace(self.past, budget=Budget())
            chosen = run_baselines({name: config}, past, self.holdout, self.evaluator, self.cache)
            report = chosen.reports[name]
        tried = [({each: getattr(one, each) for each in space}, value) for one, value in search.tried]
        record = {
            "chosen": {each: getattr(config, each) for each in space},
            "tried": [{"settings": settings, "value": value} for settings, value in tried],
            "seconds": round(time.monotonic() - began, 3),
            "complete": is_complete,
        }
        return config, report, record

    def _measure(self, name: str, config: Baseline.Config) -> float | None:
        evaluator = self._only_metric

        def compute() -> float | None:
            try:
                rows = rank_by_baseline(name, config, evaluator, self.holdout, self.past)
            except InputError:
                return None
            return evaluator.means(rows, self.holdout, self.past.row_popularity)[self.metric]

        reads_content = config.reads_content or any(
            metric.reads_content for metric in evaluator.config.kinds.values()
        )
        if self.cache is None or reads_content:
            return compute()
        return self.cache.take_value(config, evaluator, compute)

    @cached_property
    def _only_metric(self) -> Evaluator:
        return self.evaluator.only(self.metric)


def free_settings(
    config: Baseline.Config, earlier: Iterable[Baseline.Config], past: BaselineData
) -> dict[str, Axis]:
    """Return the settings to choose: those that are not set explicitly.

    A setting that an earlier baseline of a base class has, too, has only that value to try, because the two
    share the fit.
    """
    space = dict(config.space(past))
    for base in earlier:
        if isinstance(config, type(base)):
            space |= {name: Axis((getattr(base, name),)) for name in space if hasattr(base, name)}
    return {name: axis for name, axis in space.items() if name not in config.model_fields_set}


def tuning_metric(monitor: str, evaluator: Evaluator.Config) -> str | None:
    """Return the metric that chooses settings: the monitored one if it is a reported metric of ranked lists.

    Otherwise recall, NDCG or the first other metric with a better direction, at the smallest k; None if there
    is none.
    """
    ways = evaluator.higher_is_better()
    keys = [key for key in evaluator.keys() if metric_k(key) and ways[metric_name(key)] is not None]  # noqa: SIM118
    wanted = monitor.rpartition("/")[2], "recall", "ndcg"
    order = {key: [name not in (key, metric_name(key)) for name in wanted] for key in keys}
    return min(keys, key=order.__getitem__, default=None)
