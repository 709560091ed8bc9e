"""Evaluation over the whole catalogue: metrics at several k, slices and intervals."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from annotated_types import Le, MinLen
from pydantic import field_validator, model_validator

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector
from twotower.config.spec import NonNegativeInt, PositiveInt
from twotower.data.dataset import Holdout
from twotower.evaluation.division import WHOLE
from twotower.evaluation.metrics.label_metric import LabelMetric, Scored
from twotower.evaluation.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric
from twotower.evaluation.metrics.metric_data import MetricData
from twotower.evaluation.ranking import by_slice, rank, seen_pairs
from twotower.evaluation.top_k import ExcludedPairs
from twotower.evaluation.user_values import (
    LIST_HASH,
    UserValues,
    label_intervals,
    label_values,
    list_hashes,
    mean_intervals,
    mean_values,
    metric_k,
    metric_key,
    metric_name,
    user_values,
)

MIN_BOOTSTRAP = 100  # resamples: with fewer, the 2.5 % quantile is the minimum


@dataclass(frozen=True)
class Report:
    """The quality of one set of lists on one holdout.

    Args:
        metrics: key such as `recall_at_20` -> mean over users, or the value over the catalogue or the labels.
        per_user: one row per user: `user` (row), a column for each per-user key, and `list_hash`.
        intervals: key of a metric of users or labels -> [low, high], 95 %.
        slices: group -> slice -> keys plus `num_users` and `num_targets`; see `by_slice`.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    intervals: dict[str, list[float]]
    slices: dict[str, dict[str, dict[str, float]]]
    num_users: int
    num_targets: int
    num_labelled: int = 0


Lists = np.ndarray | Mapping[int, np.ndarray]
"""Item rows [Q, K >= max_k], best first, 0 or -1 = no item; or k -> rows, if the lists differ by k, as a
service's do."""


class Evaluator(Component):
    """Evaluates top lists against a holdout."""

    class Config(Component.Config):
        ks: Annotated[list[PositiveInt], MinLen(1)]
        """List lengths to report, as in `[10, 20]`."""
        kinds: Annotated[dict[str, Metric.Config], MinLen(1)]
        """Metrics to report, under any label; result keys use the metric's name: `recall_at_20`."""
        num_bootstrap: Annotated[NonNegativeInt, Le(100_000)] = 1000
        """Bootstrap resamples of the intervals, at least 100; 0 = no intervals."""
        filter_seen: bool = True
        """Whether items of the history are excluded from recommendations; without effect with
        `data.repeats=keep`."""
        importance_repeats: Annotated[NonNegativeInt, Le(1000)] = 5
        """Permutations of each feature on validation users, for its importance; 0 = not measured."""

        @field_validator("num_bootstrap")
        @classmethod
        def _check_num_bootstrap(cls, value: int) -> int:
            if 0 < value < MIN_BOOTSTRAP:
                raise InputError(
                    f"expected 0 (no intervals) or at least {MIN_BOOTSTRAP} resamples, got {value}"
                )
            return value

        @model_validator(mode="after")
        def _check_names(self) -> Self:
            name, number = Counter(kind.name for kind in self._metrics()).most_common(1)[0]
            if number > 1:
                raise InputError(f"kinds: {name!r} is listed twice; keep one of them")
            return self

        def _metrics(self) -> list[type[Metric]]:
            found: list[Any] = [each.owner for each in self.kinds.values()]
            kinds = (UserMetric, CatalogueMetric, LabelMetric)
            return sorted(found, key=lambda kind: [not issubclass(kind, each) for each in kinds])

        def keys(self) -> list[str]:
            """Return the keys of `Report.metrics`; metrics of labels need labels in the data."""
            return [
                metric_key(kind, k)
                for kind in self._metrics()
                for k in ([None] if issubclass(kind, LabelMetric) else sorted(set(self.ks)))
            ]

        def higher_is_better(self) -> dict[str, bool | None]:
            """Return metric name -> whether higher values are better; None: no preferred direction."""
            return {kind.name: kind.higher_is_better for kind in self._metrics()}

        def list_metric(self, monitor: str) -> str | None:
            """Return the metric of ranked lists that is nearest to the monitored one: itself if it is one.

            Otherwise recall, NDCG or the first other metric with a better direction, at the smallest k; None
            if there is none.
            """
            ways = self.higher_is_better()
            keys = [key for key in self.keys() if metric_k(key) and ways[metric_name(key)] is not None]
            wanted = monitor.rpartition("/")[2], "recall", "ndcg"
            order = {key: [name not in (key, metric_name(key)) for name in wanted] for key in keys}
            return min(keys, key=order.__getitem__, default=None)

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse lists longer than the catalogue."""
            num_items = context.num_items
            if num_items is not None and max(self.ks) > num_items:
                above = f"{max(self.ks)} is above the {num_items} items of the catalogue"
                yield "ks", f"{above}; use k <= {num_items}"

        def build(self, data: MetricData | None = None) -> "Evaluator":
            """Build the evaluator; raises InputError if the data lacks what a metric reads."""
            return self.make(Evaluator, data)

    config: Config

    def __init__(self, config: Config, data: MetricData | None = None) -> None:
        super().__init__(config)
        self._data = data
        self.division = WHOLE
        """How processes that evaluate together divide the users and the items."""
        self.ks = sorted(set(config.ks))
        metrics = {name: kind.build() for name, kind in config.kinds.items()}
        errors = ErrorCollector("the metrics")
        for name, metric in metrics.items():
            with errors.collect(f"metrics.kinds.{name}."):
                if data is not None:
                    metric.fit(data)
        errors.raise_if_any()
        self._user_metrics = [each for each in metrics.values() if isinstance(each, UserMetric)]
        self._catalogue_metrics = [each for each in metrics.values() if isinstance(each, CatalogueMetric)]
        self.label_metrics = [each for each in metrics.values() if isinstance(each, LabelMetric)]

    @property
    def max_k(self) -> int:
        """The largest k, the required length of lists."""
        return self.ks[-1]

    def only(self, key: str) -> "Evaluator":
        """Return an evaluator of one metric of ranked lists, such as `recall_at_20`, without intervals."""
        name = metric_name(key)
        kinds = {label: kind for label, kind in self.config.kinds.items() if kind.build().name == name}
        update = {"kinds": kinds, "ks": [int(metric_k(key))], "num_bootstrap": 0}
        return self.config.model_copy(update=update).build(self._data)

    def excluded(self, holdout: Holdout, positions: np.ndarray | slice = slice(None)) -> ExcludedPairs | None:
        """Return the excluded items of users at positions of a holdout: their history items, or None."""
        if holdout.repeats or not self.config.filter_seen:
            return None
        return seen_pairs(holdout.history, holdout.users[positions])

    def values(self, lists: Lists, holdout: Holdout, popularity: np.ndarray) -> UserValues:
        """Return the columns of metrics of `Report.per_user` alone."""
        return user_values(self._rank(lists, holdout, popularity), self._user_metrics)

    def means_and_values(
        self, lists: Lists, holdout: Holdout, popularity: np.ndarray, scored: Scored | None = None
    ) -> tuple[dict[str, float], UserValues]:
        """Return `Report.metrics` and `values`: no slices, no intervals."""
        rankings = self._rank(lists, holdout, popularity)
        values = user_values(rankings, self._user_metrics)
        return self._means(rankings, values, scored), values

    def evaluate(
        self, lists: Lists, holdout: Holdout, popularity: np.ndarray, scored: Scored | None = None
    ) -> Report:
        """Return the report of lists.

        Args:
            popularity: [N + 1] interactions of each item row in the parts before the holdout
                (`item_popularity`); an item without any is cold.
            scored: the holdout's labelled examples (`scored_labels`).
        """
        rankings = self._rank(lists, holdout, popularity)
        values = user_values(rankings, self._user_metrics)
        by_label = label_intervals(self.label_metrics, scored) if self.config.num_bootstrap else {}
        metrics = [*self._user_metrics, *self._catalogue_metrics]
        return Report(
            metrics=self._means(rankings, values, scored),
            per_user=pd.DataFrame(
                {"user": np.asarray(holdout.users), **values, LIST_HASH: list_hashes(rankings)}
            ),
            intervals=mean_intervals(values, self.config.num_bootstrap) | by_label,
            slices=by_slice(rankings, values, metrics, holdout.repeats),
            num_users=len(holdout.users),
            num_targets=len(rankings[self.max_k].relevant),
            num_labelled=0 if scored is None else len(scored.labels),
        )

    def _rank(self, lists: Lists, holdout: Holdout, popularity: np.ndarray) -> dict[int, Ranking]:
        if isinstance(lists, np.ndarray):
            return dict.fromkeys(self.ks, rank(lists, holdout, popularity))
        return {k: rank(top, holdout, popularity) for k, top in lists.items()}

    def _means(
        self, rankings: Mapping[int, Ranking], values: UserValues, scored: Scored | None
    ) -> dict[str, float]:
        by_catalogue = {
            metric_key(metric, k): metric.value(ranking, k)
            for metric in self._catalogue_metrics
            for k, ranking in rankings.items()
        }
        return mean_values(values) | by_catalogue | label_values(self.label_metrics, scored)
