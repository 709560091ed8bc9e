"""The evaluation a run is judged by: metrics at several k, slices and intervals, over the whole catalogue."""

from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Le

from twotower.config.errors import InputError
from twotower.config.spec import Count, PositiveInt, build
from twotower.data.dataset import Holdout
from twotower.evaluation.intervals import bootstrap_interval
from twotower.evaluation.ranking import rank, targets_of
from twotower.evaluation.report import Report
from twotower.evaluation.seen import seen_pairs
from twotower.evaluation.slices import by_item_slice, by_user_slice
from twotower.evaluation.top_k import Pairs
from twotower.evaluation.user_values import UserValues, key_of, means_of, user_values
from twotower.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric


class Evaluator:
    """Evaluates top lists against a holdout.

    Args:
        ks: list lengths to report.
        kinds: metrics to report, any label -> spec; keys are made of the metric's own name: `recall_at_20`.
        num_bootstrap: resamples of the intervals; 0 = no intervals. Beyond 100,000 they change no digit that
            is shown, and take minutes.
        filter_seen: do not recommend what is in the user's history (which a holdout never asks for).
    """

    def __init__(
        self,
        *,
        ks: list[PositiveInt],
        kinds: dict[str, dict[str, Any]],
        num_bootstrap: Annotated[Count, Le(100_000)] = 1000,
        filter_seen: bool = True,
    ) -> None:
        if not ks or not kinds:
            raise InputError("metrics: `ks` and `kinds` need one entry each at least, as in `ks: [10, 20]`")
        metrics = [build(spec, Metric) for spec in kinds.values()]
        self.ks = sorted(set(ks))
        self.user_metrics = [metric for metric in metrics if isinstance(metric, UserMetric)]
        self.catalogue_metrics = [metric for metric in metrics if isinstance(metric, CatalogueMetric)]
        self.num_bootstrap = num_bootstrap
        self.filter_seen = filter_seen
        names = [metric.name for metric in metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"metrics.kinds: {twice[0]!r} is there twice; keep one of them")

    @property
    def max_k(self) -> int:
        """Return the largest k, the length of the lists to hand in."""
        return self.ks[-1]

    def keys(self) -> list[str]:
        """Return the keys of `Report.metrics`, without evaluating anything."""
        return [key_of(metric, k) for metric in self._kinds() for k in self.ks]

    def higher_is_better(self) -> dict[str, bool | None]:
        """Return the name of each metric -> which way it is better, as its class says."""
        return {metric.name: metric.higher_is_better for metric in self._kinds()}

    def _kinds(self) -> list[Metric]:
        return [*self.user_metrics, *self.catalogue_metrics]

    def problems(self, num_items: int | None) -> list[tuple[str, str]]:
        """Return (parameter, message) of what cannot work with a catalogue of this size (None = unknown)."""
        if num_items is None or self.max_k <= num_items:
            return []
        return [("ks", f"{self.max_k} is above the {num_items} items of the catalogue; use k <= {num_items}")]

    def excluded(self, holdout: Holdout) -> Pairs | None:
        """Return the items each user must not be shown, None when the seen filter is off."""
        return seen_pairs(holdout.history, holdout.users) if self.filter_seen else None

    def means(self, top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray) -> dict[str, float]:
        """Return `Report.metrics` alone: no slices, no intervals. For validation while training."""
        ranking = rank(top_rows, targets_of(holdout, len(popularity) - 1), popularity)
        return self._metrics(ranking, user_values(ranking, self.user_metrics, self.ks))

    def evaluate(self, top_rows: np.ndarray, holdout: Holdout, popularity: np.ndarray) -> Report:
        """Return everything there is to say about these lists.

        Args:
            top_rows: [Q, K >= max_k] item rows of the holdout's users, best first, 0 or -1 = no item.
            holdout: who was asked for, and what they took.
            popularity: [N + 1] interactions of each item row in the log the model was fitted on
                (`item_popularity`); an item without any is cold.
        """
        targets = targets_of(holdout, len(popularity) - 1)
        ranking = rank(top_rows, targets, popularity)
        values = user_values(ranking, self.user_metrics, self.ks)
        by_item = by_item_slice(ranking, targets, self.user_metrics, self.ks)
        by_user = by_user_slice(ranking, holdout.history.counts()[holdout.users], values)
        return Report(
            metrics=self._metrics(ranking, values),
            per_user=pd.DataFrame({"user": np.asarray(holdout.users), **values}),
            intervals=self._intervals(values),
            slices=by_item | by_user,
            num_users=len(holdout.users),
            num_targets=int(ranking.num_relevant.sum()),
        )

    def _metrics(self, ranking: Ranking, values: UserValues) -> dict[str, float]:
        of_catalogue = {
            key_of(metric, k): metric.value(ranking, k) for metric in self.catalogue_metrics for k in self.ks
        }
        return means_of(values) | of_catalogue

    def _intervals(self, values: UserValues) -> dict[str, list[float]]:
        if not self.num_bootstrap or not values:
            return {}
        bounds = bootstrap_interval(np.stack(list(values.values()), axis=1), self.num_bootstrap)
        return dict(zip(values, bounds.tolist(), strict=True))
