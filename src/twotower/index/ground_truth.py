"""Exact search results, recall against them, and checks of vectors and rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import faiss
import numpy as np
from faiss.contrib.exhaustive_search import knn_ground_truth
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.index.matrix_products import matrix_products

SPLIT_SEED = 0
SCAN_SHARE = 0.25
"""Share of the items above which scoring all of them is faster than fetching from an index."""


RECALL_K, MIN_K = 100, 10
"""k of recall, and the smallest k for a sample of the items: fewer would be the first places only."""
VECTORS_PER_BLOCK = 2**20
"""Vectors that are converted, checked or added at once, so that an array in a file stays there."""


def vector_blocks(vectors: np.ndarray, name: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield positions and vectors of each block, checked by `as_vectors`, which raises InputError."""
    for start in range(0, max(1, len(vectors)), VECTORS_PER_BLOCK):
        block = slice(start, start + VECTORS_PER_BLOCK)
        yield block, as_vectors(vectors[block], name, first=start)


def as_vectors(vectors: np.ndarray, name: str, dim: int | None = None, first: int = 0) -> np.ndarray:
    """Return vectors as C-contiguous float32 [N, D], without a copy if they already are; else InputError.

    Errors count positions from `first`.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(f"{name}: expected an array [number, dim], got shape {vectors.shape}")
    if dim is not None and vectors.shape[1] != dim:
        raise InputError(f"{name}: dimension {vectors.shape[1]}, but the index has dimension {dim}")
    converted = np.ascontiguousarray(vectors)
    if converted.dtype != np.float32:
        with np.errstate(over="ignore"):  # infinite values are refused below
            converted = converted.astype(np.float32)
    flat = converted.reshape(-1)
    if not math.isfinite(np.dot(flat, flat)):  # or values are large
        for position, column in np.argwhere(~np.isfinite(converted))[:1]:
            raise InputError(
                f"{name}: value {vectors[position, column]} at position {first + position}, column {column}"
                " is not finite in float32; training has probably diverged"
            )
    return converted


def as_rows(rows: np.ndarray, num_vectors: int) -> np.ndarray:
    """Return rows as int64 [N]; raises InputError unless they are distinct integers >= 0, one per vector."""
    if rows.shape != (num_vectors,) or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"rows: expected {num_vectors} integers, one per vector, got {rows.dtype} of shape {rows.shape}"
        )
    converted = np.ascontiguousarray(rows, dtype=np.int64)
    if num_vectors and converted.min() < 0:
        raise InputError(f"rows: {converted.min()} is negative; -1 means `no item` in results")
    if not (converted[1:] > converted[:-1]).all():  # otherwise they ascend and are distinct
        values, counts = np.unique(converted, return_counts=True)
        if len(values) < num_vectors:
            raise InputError(f"rows: {values[counts > 1][0]} is given more than once")
    return converted


def evenly_spaced(number: int, most: int) -> NDArray[np.int64]:
    """Return distinct positions below a number, at most `most`, from the first to the last."""
    return np.linspace(0, number - 1, min(number, most)).astype(np.int64)


def split_queries(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two random halves of queries [Q, D].

    The first half builds or chooses an index, the second measures it. A single user is in both halves.
    """
    order = np.random.default_rng(SPLIT_SEED).permutation(len(queries))
    cut = len(order) // 2
    return queries[order[: max(1, cut)]], queries[order[cut:]]


def k_of_sample(size: int, num_items: int) -> int:
    """Return k for a sample of the items, so that the k-th best is about the 100th best of all items."""
    return max(MIN_K, round(RECALL_K * size / num_items))


def similar_sizes(sizes: np.ndarray, least: int = 1) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of positive sizes [n], in groups that differ by at most a factor of two.

    Searches for many items then slow down only each other. Sizes below `least` count as equal.
    """
    powers = np.ceil(np.log2(np.maximum(sizes, least)))
    for power in np.unique(powers[sizes > 0]):
        yield np.flatnonzero((powers == power) & (sizes > 0))


def contains(ordered: np.ndarray, values: np.ndarray) -> NDArray[np.bool_]:
    """Return which values (any shape) are in an ascending array."""
    if not len(ordered):
        return np.zeros(values.shape, dtype=np.bool_)
    positions = np.minimum(ordered.searchsorted(values), len(ordered) - 1)
    is_found: NDArray[np.bool_] = ordered[positions] == values
    return is_found


TIE_TOLERANCE = 1e-6
"""Rounding error of a float32 dot product, relative to the lengths of query and item vector."""
PAIRS_PER_BLOCK = 2**16


class SearchResult(NamedTuple):
    """Top-k items of each query in descending order: scores float32 [Q, K] and item rows int64 [Q, K].

    Positions without an item have score -inf and row -1.
    """

    scores: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class GroundTruth:
    """Exact search results of queries [Q, D] over a catalogue [N, D], and recall against them."""

    vectors: np.ndarray
    rows: np.ndarray
    queries: np.ndarray
    exact: SearchResult

    @classmethod
    def search(cls, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int) -> "GroundTruth":
        """Search exactly, large catalogues in blocks; k above N is lowered to N.

        Raises InputError for invalid arrays or k < 1.
        """
        if k < 1:
            raise InputError(f"k: {k} items requested; expected at least 1")
        in_blocks = len(vectors) > VECTORS_PER_BLOCK
        vectors = vectors if in_blocks else as_vectors(vectors, "item vectors")
        rows = as_rows(rows, len(vectors))
        queries = as_vectors(queries, "queries", vectors.shape[1])
        k = min(k, len(rows))
        scores = np.empty((len(queries), k), dtype=np.float32)
        positions = np.empty((len(queries), k), dtype=np.int64)
        metric = faiss.METRIC_INNER_PRODUCT
        with matrix_products():
            if scores.size and in_blocks:
                blocks = (block for _, block in vector_blocks(vectors, "item vectors"))
                scores, positions = knn_ground_truth(  # type: ignore[no-untyped-call]
                    queries, blocks, k, metric, ngpu=0
                )
            elif scores.size:
                scores, positions = faiss.knn(queries, vectors, k, metric=metric)
        return cls(vectors, rows, queries, SearchResult(scores, rows[positions]))

    def part(self, k: int, queries: slice | np.ndarray = slice(None)) -> "GroundTruth":
        """Return the first k results of some queries (positions, or a mask)."""
        first = SearchResult(self.exact.scores[queries, :k], self.exact.rows[queries, :k])
        return replace(self, queries=self.queries[queries], exact=first)

    @property
    def k(self) -> int:
        """Number of results per query."""
        return int(self.exact.rows.shape[1])

    def recall(self, found_rows: np.ndarray) -> float:
        """Return the mean of `recalls`; 1 without queries."""
        return float(self.recalls(found_rows).mean()) if len(found_rows) else 1.0

    def recalls(self, found_rows: np.ndarray) -> NDArray[np.float64]:
        """Return the tie-tolerant recall@k [Q]: a row counts once if its score reaches the k-th best."""
        ordered = np.sort(found_rows[:, : self.k], axis=1)
        counted = np.diff(ordered, axis=1, prepend=-1) > 0
        is_exact = counted & contains(self._exact_keys, self._keys(ordered))
        hits, (positions, columns) = is_exact.sum(axis=1), np.nonzero(counted & ~is_exact)  # these may tie
        for start in range(0, len(positions), PAIRS_PER_BLOCK):
            users = positions[start : start + PAIRS_PER_BLOCK]
            rows = ordered[users, columns[start : start + PAIRS_PER_BLOCK]]
            scores, slack = self._scores(users, rows)
            last, _ = self._scores(users, self.exact.rows[users, -1])
            hits += np.bincount(users[scores >= last - slack], minlength=len(hits))
        return np.asarray(hits / ordered.shape[1])

    @cached_property
    def _exact_keys(self) -> np.ndarray:
        return np.sort(self._keys(self.exact.rows), axis=None)

    def _keys(self, rows: np.ndarray) -> np.ndarray:
        """Return an integer for each pair of query and row [Q, K]; rows above the catalogue share one."""
        above = int(self.rows.max(initial=0)) + 1
        keys: np.ndarray = np.arange(len(rows))[:, None] * (above + 1) + np.minimum(rows, above)
        return keys

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.rows, kind="stable")

    def _scores(self, positions: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 dot products [P] of queries at positions [P] with item rows [P], and their slack."""
        found = np.searchsorted(self.rows, rows, sorter=self._order)
        at = self._order[np.minimum(found, len(self.rows) - 1)]
        items, queries = self.vectors[at].astype(np.float64), self.queries[positions].astype(np.float64)
        scores = np.einsum("pd,pd->p", queries, items)
        lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(items, axis=1)
        return np.where(self.rows[at] == rows, scores, -np.inf), TIE_TOLERANCE * lengths
