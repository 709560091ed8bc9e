"""Base classes of metrics of lists, and `Ranking`, their input; for labels see `label_metric`.

Shapes: Q users (queries), K places of the longest list, N items of the catalogue.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from twotower.config.component import Component


@dataclass(frozen=True)
class Ranking:
    """The recommended items of Q users and which of them are relevant.

    Args:
        items: int [Q, K] item rows, best first; 0 = no item (the list ran out).
        hits: bool [Q, K], whether the item is one of the user's relevant items; each counts once.
        num_relevant: int64 [Q] relevant items per user.
        num_items: N, the size of the catalogue.
        popularity: int64 [N + 1] train interactions per item row.
    """

    items: NDArray[np.integer]
    hits: NDArray[np.bool_]
    num_relevant: NDArray[np.int64]
    num_items: int
    popularity: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.items.ndim == 2
        assert self.items.shape == self.hits.shape
        assert self.num_relevant.shape == (self.items.shape[0],)
        assert self.popularity.shape == (self.num_items + 1,)

    @classmethod
    def of(
        cls,
        items: Iterable[Iterable[int]],
        relevant: Iterable[Iterable[int]],
        popularity: Iterable[int],
    ) -> Self:
        """Build a small ranking by hand: lists and relevant items per user, popularity of rows 1, 2, ..."""
        rows = np.array([list(row) for row in items], dtype=np.int32)
        known = [set(row) for row in relevant]
        hits = np.array(
            [[row in known[q] for row in listed] for q, listed in enumerate(rows.tolist())], dtype=np.bool_
        )
        counts = np.array([0, *popularity], dtype=np.int64)
        num_relevant = np.array([len(row) for row in known], dtype=np.int64)
        return cls(rows, hits, num_relevant, len(counts) - 1, counts)

    @property
    def max_k(self) -> int:
        """Return K, the largest possible k."""
        return int(self.items.shape[1])

    def take(self, queries: np.ndarray) -> Self:
        """Return the ranking of some users only (boolean mask or positions)."""
        return replace(
            self, items=self.items[queries], hits=self.hits[queries], num_relevant=self.num_relevant[queries]
        )

    def top_hits(self, k: int) -> NDArray[np.bool_]:
        """Return the hits [Q, k] of the first k places."""
        self._check(k)
        return self.hits[:, :k]

    def top_items(self, k: int) -> NDArray[np.integer]:
        """Return the item rows [Q, k] of the first k places."""
        self._check(k)
        return self.items[:, :k]

    def attainable(self, k: int) -> NDArray[np.int64]:
        """Return min(k, relevant) [Q], the most hits k places can hold; at least 1, so that it can divide."""
        return np.clip(self.num_relevant, 1, k)

    def _check(self, k: int) -> None:
        assert 1 <= k <= self.max_k, f"k = {k}, but the lists hold {self.max_k} places"


class Metric(Component, ABC):
    """A metric; its values are finite, and no user's depends on the others.

    They need not lie between 0 and 1. Where a metric looks at hits, `higher_is_better` is the way in which a
    list with more of them is no worse; one of the items alone says None.

    Attributes:
        name: gives its keys, as in `recall_at_20` or `auc`.
        higher_is_better: which of two values is the better one; None: neither, or not said. Such a metric is
            shown, but it chooses no epoch, and no run is called better by it.
    """

    class Config(Component.Config):
        """Settings of every metric: none."""

        def build(self) -> "Metric":
            """Build the metric."""
            return self.make(Metric)

    config: Config
    name: ClassVar[str]
    higher_is_better: ClassVar[bool | None] = None

    def __init__(self, config: Config) -> None:
        self.config = config


class UserMetric(Metric):
    """A metric at k with one value per user; slices, intervals and paired tests need such values.

    Attributes:
        by_target: whether it is defined for a subset of a user's targets, as in item slices.
    """

    by_target: ClassVar[bool] = False

    @abstractmethod
    def per_user(self, ranking: Ranking, k: int) -> NDArray[np.float64]:
        """Return the value of each user, float64 [Q]; finite for users without recommended or relevant
        items."""


class CatalogueMetric(Metric):
    """A metric at k of the lists of all users together."""

    @abstractmethod
    def value(self, ranking: Ranking, k: int) -> float:
        """Return the value over all users; finite without users or recommended items."""
