"""The truth an index is measured against: exact search, and recall that is fair to ties."""

from dataclasses import dataclass

import faiss
import numpy as np

from twotower.config.errors import InputError
from twotower.index.vectors_and_rows import as_rows, as_vectors

TIE_TOLERANCE = 1e-6
"""Relative to the lengths of query and item vector: what float32 sums of a few hundred terms differ by."""

QUERIES_PER_CHUNK = 256


@dataclass(frozen=True)
class SearchResult:
    """The k best items of each query, best first.

    Attributes:
        scores: float32 [Q, K] dot products; -inf where there is no item.
        rows: int64 [Q, K] item rows; -1 where there are fewer than K, or the searched cells ran out of items.
    """

    scores: np.ndarray
    rows: np.ndarray


def exact_search(vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int) -> SearchResult:
    """Return the k best items of each query over the whole catalogue.

    Args:
        k: at least 1; places beyond N hold row -1 and score -inf.
    """
    if k < 1:
        raise InputError(f"k: {k} items asked for; expected at least 1")
    vectors = as_vectors(vectors, "item vectors")
    rows = as_rows(rows, len(vectors))
    queries = as_vectors(queries, "queries", vectors.shape[1])
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    found = np.full((len(queries), k), -1, dtype=np.int64)
    num_found = min(k, len(vectors))
    if num_found and len(queries):
        best, places = faiss.knn(queries, vectors, num_found, metric=faiss.METRIC_INNER_PRODUCT)
        scores[:, :num_found], found[:, :num_found] = best, rows[places]
    return SearchResult(scores=scores, rows=found)


def recall_by_row(found_rows: np.ndarray, exact_rows: np.ndarray) -> float:
    """Return the share of exact results that were found, by row alone.

    Args:
        found_rows: [Q, K], -1 = none.
        exact_rows: [Q, K], -1 = none (ignored).
    """
    wanted = exact_rows >= 0
    if not wanted.any():
        return 1.0
    span = max(int(exact_rows.max()), int(found_rows.max(initial=-1))) + 2
    lines = span * np.arange(len(exact_rows), dtype=np.int64)[:, None]
    hits = np.isin((exact_rows + lines)[wanted], (found_rows + lines)[found_rows >= 0])
    return float(hits.mean())


@dataclass(frozen=True)
class Truth:
    """Exact results of some queries, with what is needed to judge other results fairly.

    Attributes:
        vectors: [N, D] the catalogue.
        queries: [Q, D].
    """

    vectors: np.ndarray
    rows: np.ndarray
    queries: np.ndarray
    exact: SearchResult

    @classmethod
    def of(cls, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int) -> "Truth":
        """Search exactly; k above N is lowered to N."""
        k = min(k, len(rows))
        return cls(vectors, rows, queries, exact_search(vectors, rows, queries, k))

    @property
    def k(self) -> int:
        """How many items of each query are looked at."""
        return int(self.exact.rows.shape[1])

    def recall(self, found_rows: np.ndarray) -> float:
        """Return the tie-tolerant recall@k: a row counts when its exact score reaches the true k-th.

        Args:
            found_rows: [Q, >= k], -1 = none; a row counts once a query.
        """
        found_rows = found_rows[:, : self.k]
        if not len(found_rows):
            return 1.0
        order = np.argsort(self.rows, kind="stable")
        hits = 0
        for start in range(0, len(found_rows), QUERIES_PER_CHUNK):
            chunk = slice(start, start + QUERIES_PER_CHUNK)
            scores, slack = self._scores(self.queries[chunk], found_rows[chunk], order)
            last, _ = self._scores(self.queries[chunk], self.exact.rows[chunk, -1:], order)
            counted = _first_of_each(found_rows[chunk]) & (found_rows[chunk] >= 0)
            hits += int((counted & (scores >= last - slack)).sum())
        return hits / found_rows.size

    def _scores(
        self, queries: np.ndarray, rows: np.ndarray, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 dot products [Q, K] of queries with the items in rows [Q, K], and their slack."""
        places = np.minimum(np.searchsorted(self.rows, rows, sorter=order), len(order) - 1)
        items = self.vectors[order[places]].astype(np.float64)
        known = self.rows[order[places]] == rows
        scores = np.einsum("qd,qkd->qk", queries.astype(np.float64), items)
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(items, axis=2)
        return np.where(known, scores, -np.inf), TIE_TOLERANCE * lengths


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """Return bool [Q, K]: True where a row appears for the first time in its line."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    new = np.ones(rows.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first
