"""Exposure gap: how far the exposure of item groups is from their share of the training interactions."""

import numpy as np

from twotower.evaluation.metrics.metric import CatalogueMetric, Ranking
from twotower.evaluation.metrics.metric_data import Masks, MetricData, column_groups, item_slices

POPULARITY = "popularity"


class ExposureGap(CatalogueMetric):
    """exposure_gap@k = half the sum over groups of |share of the first k of all users - share of training|.

    It is the share of all recommended positions that would have to change groups for an exposure in
    proportion to the training interactions. The slices of the result have the difference of each group. It
    does not depend on hits, so it has no better direction. 0 without recommended items.

    >>> ranking = Ranking.from_lists([[1, 2], [1, 3]], relevant=[{1}, {1}], popularity=[5, 3, 1, 1])
    >>> metric = ExposureGap.Config().build()
    >>> {name: round(gap, 2) for name, gap in metric.by_group(ranking, k=2)["item_popularity"].items()}
    {'head': 0.0, 'mid': -0.05, 'tail': 0.05}
    >>> round(metric.value(ranking, k=2), 2)
    0.05
    """

    class Config(CatalogueMetric.Config):
        by: str = POPULARITY
        """`popularity` = head, mid and tail as in the slices; or a column of the item table with one value
        per item and at most 100 values."""

    config: Config
    name = "exposure_gap"
    higher_is_better = None
    _groups: Masks

    def fit(self, data: MetricData) -> None:
        """Read the column."""
        if self.config.by != POPULARITY:
            self._groups = column_groups(data.items, self.config.by)

    def value(self, ranking: Ranking, k: int) -> float:
        """Return half the sum of the differences of the groups."""
        (gaps,) = self.by_group(ranking, k).values()
        return sum(map(abs, gaps.values())) / 2

    def by_group(self, ranking: Ranking, k: int) -> dict[str, dict[str, float]]:
        """Return the share of exposure minus the share of training interactions of each group."""
        by = f"item_{self.config.by}"
        groups = item_slices(ranking.popularity)[by] if self.config.by == POPULARITY else self._groups
        used, items = ranking.popularity, ranking.top_items(k)
        exposure = np.bincount(items[items > 0], minlength=len(used))
        if not exposure.sum() or not used.sum():
            return {by: dict.fromkeys(groups, 0.0)}
        gaps = exposure / exposure.sum() - used / used.sum()
        return {by: {name: float(gaps[mask].sum()) for name, mask in groups.items()}}
