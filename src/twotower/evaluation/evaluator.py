"""Evaluation over the whole catalogue: metrics at several k, slices and intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from annotated_types import Le, MinLen
from pydantic import field_validator, model_validator

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import NonNegativeInt, PositiveInt
from twotower.data.dataset import Holdout
from twotower.evaluation.ranking import by_slice, holdout_targets, rank, seen_pairs
from twotower.evaluation.top_k import ExcludedPairs
from twotower.evaluation.user_values import (
    LIST_HASH,
    UserValues,
    label_intervals,
    label_values,
    list_hashes,
    mean_intervals,
    mean_values,
    metric_key,
    user_values,
)
from twotower.metrics.label_metric import LabelMetric, Scored
from twotower.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric

MIN_BOOTSTRAP = 100
"""Minimum number of bootstrap resamples: with fewer, the 2.5 % quantile is the minimum."""


@dataclass(frozen=True)
class Report:
    """The quality of one set of lists on one holdout.

    Args:
        metrics: key such as `recall_at_20` -> mean over users, or the value over the catalogue; `auc` -> the
            value over all labelled examples, if there are any.
        per_user: one row per evaluated user: `user` (row), a column for each per-user key, and `list_hash`,
            a number that is equal for equal lists.
        intervals: per-user key -> [low, high], the 95 % bootstrap interval; also of metrics of labels.
        slices: group -> slice -> keys plus `num_users` and `num_targets`; empty slices are left out.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    intervals: dict[str, list[float]]
    slices: dict[str, dict[str, dict[str, float]]]
    num_users: int
    num_targets: int
    num_labelled: int = 0


def join_reports(reports: Sequence[Report]) -> Report:
    """Join reports on the same holdout at different k (`Evaluator.at`)."""
    first = reports[0]
    metrics: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    slices: dict[str, dict[str, dict[str, float]]] = {}
    per_user = pd.concat([each.per_user.drop(columns=["user", LIST_HASH]) for each in reports], axis=1)
    per_user.insert(0, "user", first.per_user["user"])
    per_user[LIST_HASH] = np.sum([each.per_user[LIST_HASH] for each in reports], axis=0, dtype=np.uint64)
    for each in reports:
        metrics |= each.metrics
        intervals |= each.intervals
        for group, named in each.slices.items():
            for name, values in named.items():
                slices.setdefault(group, {}).setdefault(name, {}).update(values)
    return replace(first, metrics=metrics, intervals=intervals, slices=slices, per_user=per_user)


class Evaluator(Component):
    """Evaluates top lists against a holdout."""

    class Config(Component.Config):
        """Settings of the evaluation."""

        ks: Annotated[list[PositiveInt], MinLen(1)]
        """List lengths to report, as in `[10, 20]`."""
        kinds: Annotated[dict[str, Metric.Config], MinLen(1)]
        """Metrics to report, under any label; result keys use the metric's name: `recall_at_20`."""
        num_bootstrap: Annotated[NonNegativeInt, Le(100_000)] = 1000
        """Bootstrap resamples of the intervals, at least 100; 0 = no intervals."""
        filter_seen: bool = True
        """Whether items of the history are excluded from recommendations; without effect with
        `data.repeats=keep`."""

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
            names = [kind.name for kind in self._metrics()]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise InputError(f"kinds: {twice[0]!r} is listed twice; keep one of them")
            return self

        def _metrics(self) -> list[type[Metric]]:
            found: list[Any] = [each.owner for each in self.kinds.values()]
            kinds = (UserMetric, CatalogueMetric, LabelMetric)
            return sorted(found, key=lambda kind: [not issubclass(kind, each) for each in kinds])

        def keys(self) -> list[str]:
            """Return the keys of `Report.metrics`; metrics of labels need labels in the data."""
            return [
                key
                for kind in self._metrics()
                for key in (
                    [kind.name]
                    if issubclass(kind, LabelMetric)
                    else [metric_key(kind, k) for k in sorted(set(self.ks))]
                )
            ]

        def higher_is_better(self) -> dict[str, bool | None]:
            """Return metric name -> whether higher values are better; None: no preferred direction."""
            return {kind.name: kind.higher_is_better for kind in self._metrics()}

        def problems(self, num_items: int | None = None) -> Iterator[tuple[str, str]]:
            """Refuse lists longer than the catalogue."""
            if num_items is not None and max(self.ks) > num_items:
                above = f"{max(self.ks)} is above the {num_items} items of the catalogue"
                yield "ks", f"{above}; use k <= {num_items}"

        def build(self) -> "Evaluator":
            """Build the evaluator."""
            return self.make(Evaluator)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ks = sorted(set(config.ks))
        metrics = [kind.build() for kind in config.kinds.values()]
        self._user_metrics = [metric for metric in metrics if isinstance(metric, UserMetric)]
        self._catalogue_metrics = [metric for metric in metrics if isinstance(metric, CatalogueMetric)]
        self.label_metrics = [metric for metric in metrics if isinstance(metric, LabelMetric)]

    @property
    def max_k(self) -> int:
        """The largest k, the required length of lists."""
        return self.ks[-1]

    def at(self, k: int) -> "Evaluator":
        """Return the evaluator of the same metrics at one k."""
        return Evaluator(self.config.model_copy(update={"ks": [k]}))

    def excluded(self, holdout: Holdout) -> ExcludedPairs | None:
        """Return the excluded items of each user, None if the seen filter is off."""
        return seen_pairs(holdout.history, holdout.users) if self.filters_seen(holdout) else None

    def filters_seen(self, holdout: Holdout) -> bool:
        """Return whether items of the history are excluded; they are not if repeats are kept."""
        return self.config.filter_seen and not holdout.repeats

    def means(
        self, top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray, scored: Scored | None = None
    ) -> dict[str, float]:
        """Return `Report.metrics` alone: no slices, no intervals. For validation during training."""
        ranking = rank(top_rows, holdout_targets(holdout, len(popularity) - 1), popularity)
        return self._metrics(ranking, user_values(ranking, self._user_metrics, self.ks), scored)

    def values(self, top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray) -> UserValues:
        """Return the columns of metrics of `Report.per_user` alone."""
        ranking = rank(top_rows, holdout_targets(holdout, len(popularity) - 1), popularity)
        return user_values(ranking, self._user_metrics, self.ks)

    def evaluate(
        self, top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray, scored: Scored | None = None
    ) -> Report:
        """Return the report of lists.

        Args:
            top_rows: [Q, K >= max_k] item rows of the holdout's users, best first, 0 or -1 = no item.
            popularity: [N + 1] interactions of each item row in the training data of the model
                (`item_popularity`); an item without any is cold.
            scored: the holdout's labelled examples (`scored_labels`).
        """
        targets = holdout_targets(holdout, len(popularity) - 1)
        ranking = rank(top_rows, targets, popularity)
        values = user_values(ranking, self._user_metrics, self.ks)
        by_label = label_intervals(self.label_metrics, scored) if self.config.num_bootstrap else {}
        return Report(
            metrics=self._metrics(ranking, values, scored),
            per_user=pd.DataFrame(
                {"user": np.asarray(holdout.users), **values, LIST_HASH: list_hashes(ranking.items, self.ks)}
            ),
            intervals=mean_intervals(values, self.config.num_bootstrap) | by_label,
            slices=by_slice(ranking, targets, holdout, values, self._user_metrics, self.ks),
            num_users=len(holdout.users),
            num_targets=int(ranking.num_relevant.sum()),
            num_labelled=0 if scored is None else len(scored.labels),
        )

    def _metrics(self, ranking: Ranking, values: UserValues, scored: Scored | None) -> dict[str, float]:
        by_catalogue = {
            metric_key(metric, k): metric.value(ranking, k)
            for metric in self._catalogue_metrics
            for k in self.ks
        }
        return mean_values(values) | by_catalogue | label_values(self.label_metrics, scored)
