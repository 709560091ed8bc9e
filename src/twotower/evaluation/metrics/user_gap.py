"""User gap: the difference of a metric between groups of users."""

import numpy as np

from twotower.config.spec import PositiveInt
from twotower.evaluation.metrics.metric import CatalogueMetric, Ranking, UserMetric
from twotower.evaluation.metrics.metric_data import Masks, MetricData, column_groups, user_slices
from twotower.evaluation.metrics.recall import Recall

ACTIVITY = "activity"


class UserGap(CatalogueMetric):
    """user_gap@k = the largest minus the smallest mean of a metric over groups of users.

    The slices of the result have the mean of each group. Groups with fewer than `min_users` evaluated users
    are left out, because their means differ by chance. A gap is also small if all groups are served badly, so
    it has no better direction.

    >>> ranking = Ranking.from_lists([[1], [2]], [{1}, {1}], popularity=[1, 1], histories=[[2], []])
    >>> UserGap.Config(min_users=1).build().value(ranking, k=1)  # recall 1 with a history, 0 without
    1.0
    """

    class Config(CatalogueMetric.Config):
        metric: UserMetric.Config = Recall.Config()
        """The metric whose means are compared."""
        by: str = ACTIVITY
        """`activity` = users by the length of their history as in the slices; or a column of the user table
        with at most 100 values, such as gender."""
        min_users: PositiveInt = 100
        """Evaluated users of a group below which it is left out."""

    config: Config
    name = "user_gap"
    higher_is_better = None
    _groups: Masks

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        metric = config.metric.build()
        assert isinstance(metric, UserMetric)
        self._metric = metric

    def fit(self, data: MetricData) -> None:
        """Read the column."""
        self._metric.fit(data)
        if self.config.by != ACTIVITY:
            self._groups = column_groups(data.users, self.config.by)

    def value(self, ranking: Ranking, k: int) -> float:
        """Return the difference between the best and the worst group."""
        (means,) = self.by_group(ranking, k).values()
        return max(means.values(), default=0.0) - min(means.values(), default=0.0)

    def by_group(self, ranking: Ranking, k: int) -> dict[str, dict[str, float]]:
        """Return the mean of each group."""
        values, users = self._metric.per_user(ranking, k), ranking.users
        if self.config.by == ACTIVITY:
            groups = user_slices(ranking.history.counts()[users])
        else:
            groups = {name: mask[users] for name, mask in self._groups.items()}
        means = {
            name: float(np.mean(values[mask]))
            for name, mask in groups.items()
            if mask.sum() >= self.config.min_users
        }
        return {f"user_{self.config.by}": means}
