"""Base classes of metrics of ranked lists, and `Ranking`, their input; for labels see `label_metric`.

Shapes: Q users (queries), K length of the lists, N items of the catalogue.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from twotower.config.component import Component

if TYPE_CHECKING:  # these import pandas, which reports of metrics do not need
    from twotower.data.interactions import Interactions
    from twotower.evaluation.metrics.metric_data import MetricData

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """The recommended items of Q users and which of them are relevant.

    Args:
        items: int [Q, K] item rows, best first; 0 = no item.
        hits: bool [Q, K], whether the item is relevant for the user.
        num_relevant: int64 [Q] relevant items per user.
        relevant: int64 [sum of num_relevant], the relevant items of each user in turn.
        popularity: int64 [N + 1] train interactions per item row.
        users: int [Q], user rows.
        history: interactions of all users that precede the lists.
    """

    items: NDArray[np.integer]
    hits: NDArray[np.bool_]
    num_relevant: NDArray[np.int64]
    relevant: NDArray[np.int64]
    popularity: NDArray[np.int64]
    users: NDArray[np.integer]
    history: "Interactions"

    @classmethod
    def from_lists(
        cls,
        items: Iterable[Iterable[int]],
        relevant: Iterable[Iterable[int]],
        popularity: Iterable[int],
        histories: Iterable[Iterable[int]] = (),
    ) -> Self:
        """Build from lists, relevant items and histories by user, and the popularity of rows 1, 2, ..."""
        from twotower.data.interactions import Interactions

        rows = np.array([list(row) for row in items], dtype=np.int32)
        wanted = [sorted(set(row)) for row in relevant]
        hits = np.array([np.isin(row, own) for row, own in zip(rows, wanted, strict=True)])
        num_relevant, flat = np.array([*map(len, wanted)]), np.array([*chain(*wanted)], dtype=np.int64)
        counts, users = np.array([0, *popularity], dtype=np.int64), np.arange(1, len(rows) + 1)
        past = [list(row) for row in histories] or [[]] * len(rows)
        events = np.array([*chain(*past)], dtype=np.int32)
        history = Interactions(np.cumsum([0, 0, *map(len, past)]), events, np.arange(len(events)))
        return cls(rows, hits, num_relevant, flat, counts, users, history)

    @property
    def num_items(self) -> int:
        """N, the size of the catalogue."""
        return len(self.popularity) - 1

    @property
    def max_k(self) -> int:
        """K, the largest possible k."""
        return int(self.items.shape[1])

    @cached_property
    def relevant_queries(self) -> NDArray[np.int64]:
        """The user position of each relevant item, [sum of num_relevant]."""
        return np.repeat(np.arange(len(self.num_relevant)), self.num_relevant)

    def take(self, queries: np.ndarray) -> Self:
        """Return the ranking of some users (boolean mask or positions)."""
        from twotower.data.interactions import expand_ranges

        counts, ends = self.num_relevant[queries], np.cumsum(self.num_relevant)[queries]
        relevant = self.relevant[expand_ranges(ends - counts, counts)[1]]
        rows = {"items": self.items[queries], "hits": self.hits[queries], "users": self.users[queries]}
        return replace(self, num_relevant=counts, relevant=relevant, **rows)

    def top_items(self, k: int) -> NDArray[np.integer]:
        """Return the item rows [Q, k] of the first k positions."""
        self._check(k)
        return self.items[:, :k]

    def top_hits(self, k: int) -> NDArray[np.bool_]:
        """Return the hits [Q, k] of the first k positions."""
        self._check(k)
        return self.hits[:, :k]

    def num_hits(self, k: int) -> NDArray[np.int64]:
        """Return the number of hits in the first k positions [Q]."""
        return np.asarray(self.top_hits(k).sum(axis=1))

    def attainable(self, k: int) -> NDArray[np.int64]:
        """Return the maximum number of hits, min(k, relevant items) [Q]; at least 1, as a divisor."""
        return np.clip(self.num_relevant, 1, k)

    def _check(self, k: int) -> None:
        assert 1 <= k <= self.max_k, f"k = {k}, but the lists have length {self.max_k}"


class Metric(Component, ABC):
    """A metric. Its values are finite, and the value of a user does not depend on other users.

    Attributes:
        name: prefix of its keys, as in `recall_at_20` or `auc`.
        higher_is_better: direction of better values, in which more hits never lead away; None: no direction.
            Such a metric is shown but selects no epoch and no run.
    """

    class Config(Component.Config):
        reads_content: ClassVar[bool] = False
        """Whether it reads item features, so that its values depend on more than interactions."""

        def build(self) -> "Metric":
            """Build the metric."""
            return self.make(Metric)

    config: Config
    name: ClassVar[str]
    higher_is_better: ClassVar[bool | None] = None

    def fit(self, data: "MetricData") -> None:
        """Read the data set before the first evaluation; by default nothing.

        Raises:
            InputError: the data lacks what the metric reads; begins with the name of the setting.
        """


class UserMetric(Metric):
    """A metric at k with one value per user, as slices, intervals and paired tests require.

    A user without relevant items has the value 0, unless the metric does not depend on hits.

    Attributes:
        by_target: whether it is defined for a subset of the targets, as in item slices.
    """

    by_target: ClassVar[bool] = False

    @abstractmethod
    def per_user(self, ranking: Ranking, k: int) -> Floats:
        """Return the value of each user [Q], finite also without recommended or relevant items."""


class CatalogueMetric(Metric):
    """A metric at k with one value for the lists of all users."""

    @abstractmethod
    def value(self, ranking: Ranking, k: int) -> float:
        """Return the value over all users; finite without users or recommended items."""

    def by_group(self, ranking: Ranking, k: int) -> dict[str, dict[str, float]]:
        """Return the value of each group, as slice group -> group -> value, for `slices` of the result."""
        return {}
