"""A Faiss object whose ids are item rows, and which can remove vectors.

A Faiss class without ids or removal (a graph, for example) is wrapped in `faiss.IndexIDMap`. A removed vector
gets the id TOMBSTONE: searches still visit it, but results exclude it, and the next build drops it. The file
includes ids and tombstones.
"""

import math
import platform
from collections.abc import Callable
from functools import cached_property
from typing import Any

import faiss
import numpy as np

from twotower.config.errors import InputError
from twotower.index.ground_truth import SearchResult, contains, vector_blocks


def faiss_versions() -> dict[str, str | int]:
    """Return version, SIMD level, compile options, number of threads and machine, which affect results."""
    return {
        "faiss": faiss.__version__,
        "simd_level": faiss.SIMDConfig.get_level_name(),
        "compile_options": faiss.get_compile_options().strip(),
        "num_threads": faiss.omp_get_max_threads(),
        "machine": platform.machine(),
    }


TOMBSTONE = -2  # Faiss returns -1 if it has no more vectors


class FaissIndex:
    """Vectors in a Faiss object and their rows; a row is never added twice.

    Attributes:
        outer: the object that is searched and saved: `inner`, or an IndexIDMap around it.
        inner: the object that `Index.create` returned.
        num_tombstones: number of removed vectors that the object still stores.
        lists: the inverted lists if they are in a file, which cannot change; else None.
    """

    def __init__(self, outer: Any, lists: Any = None) -> None:
        self.outer, self.lists = outer, lists
        self._read_rows: Callable[[], np.ndarray] = lambda: np.empty(0, dtype=np.int64)
        self.dim, self.num_tombstones = int(outer.d), 0
        self.inner: Any = faiss.downcast_index(outer.index) if isinstance(outer, faiss.IndexIDMap) else outer

    @classmethod
    def wrap(cls, trained: Any) -> "FaissIndex":
        """Wrap a trained Faiss object without vectors, in an IndexIDMap if it lacks ids or removal."""
        try:
            trained.add_with_ids(np.empty((0, trained.d), dtype=np.float32), np.empty(0, dtype=np.int64))
            trained.remove_ids(np.empty(0, dtype=np.int64))
        except RuntimeError:  # Faiss raises it for an operation that a class does not implement
            # IDMap2 adds a hash table for reconstruction, which is not used.
            return cls(faiss.IndexIDMap(trained))
        return cls(trained)

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the vectors that are not removed, int64 [N] ascending; read when first needed."""
        rows = self._read_rows()
        rows.sort()
        return rows

    @property
    def num_rows(self) -> int:
        """Number of vectors that are not removed."""
        return int(self.outer.ntotal) - self.num_tombstones

    def find_rows(self, stored_rows: Callable[[Any], np.ndarray]) -> bool:
        """Set `rows` after loading, by `stored_rows` without an IndexIDMap; returns whether counts agree."""
        if self.lists is not None:
            self._read_rows = lambda: stored_rows(self.inner)
            return bool(self.lists.compute_ntotal() == self.outer.ntotal)
        if self.outer is self.inner:
            rows = ids = stored_rows(self.inner)
        else:
            ids = np.asarray(faiss.vector_to_array(self.outer.id_map), dtype=np.int64)
            rows = ids[ids != TOMBSTONE]
        self.rows = np.sort(rows)
        self.num_tombstones = len(ids) - len(rows)
        return len(ids) == self.outer.ntotal == self.inner.ntotal and bool(self.outer.d == self.inner.d)

    def add(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        """Add vectors [n, D] in blocks, under rows [n]; raises InputError if a row is already present."""
        self._check_can_change()
        present = contains(self.rows, rows)
        if present.any():
            raise InputError(f"rows: {rows[present][0]} is already in the index; remove it first")
        for part, block in vector_blocks(vectors, "item vectors"):
            self.outer.add_with_ids(block, rows[part])
        ordered = np.sort(rows)
        if len(self.rows):
            ordered = np.insert(self.rows, np.searchsorted(self.rows, ordered), ordered)
        self.rows = ordered

    def remove(self, rows: np.ndarray) -> int:
        """Remove vectors, or mark them as tombstones. Returns the number of removed vectors."""
        self._check_can_change()
        present = np.unique(rows[contains(self.rows, rows)])
        if not len(present):
            return 0
        try:
            self.outer.remove_ids(present)
        except RuntimeError:
            if self.outer is self.inner:
                raise
            table = faiss.rev_swig_ptr(self.outer.id_map.data(), self.outer.id_map.size())
            table[np.isin(table, present)] = TOMBSTONE
            self.num_tombstones += len(present)
        self.rows = np.delete(self.rows, np.searchsorted(self.rows, present))
        return len(present)

    def _check_can_change(self) -> None:
        if self.lists is not None:
            raise InputError(
                f"{self.lists.filename}: an index that is searched from a file cannot change; build it again"
            )

    def search(self, queries: np.ndarray, k: int) -> SearchResult:
        """Return the top k; positions without a vector have row -1 and score -inf."""
        if self.num_tombstones or k > self.num_rows:
            return self._search_past_tombstones(queries, k)
        scores, rows = self.outer.search(queries, k)
        if min(rows[:, -1].tolist(), default=0) < 0:  # an approximate index gives fewer than there are
            scores[rows < 0], rows[rows < 0] = -np.inf, -1
        return SearchResult(scores=scores, rows=rows)

    def _search_past_tombstones(self, queries: np.ndarray, k: int) -> SearchResult:
        """Fetch more than k, and double that for queries whose results are mostly tombstones."""
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        num_live, num_stored = self.num_rows, int(self.outer.ntotal)
        wanted = min(k, num_live)
        left = np.arange(len(queries) if wanted else 0)
        # Twice as many tombstones as expected, because a second search costs more than a longer first one.
        size = min(math.ceil(wanted * (2 * num_stored / max(1, num_live) - 1)), num_stored)
        while len(left):
            found_scores, found = self.outer.search(queries[left], size)
            first = np.argsort(found < 0, axis=1, kind="stable")[:, :wanted]  # not removed, in order
            scores[left, :wanted] = np.take_along_axis(found_scores, first, axis=1)
            rows[left, :wanted] = np.take_along_axis(found, first, axis=1)
            enough = ((found >= 0).sum(axis=1) >= wanted) | (found == -1).any(axis=1) | (size == num_stored)
            left, size = left[~enough], min(2 * size, num_stored)
        scores[rows < 0], rows[rows < 0] = -np.inf, -1
        return SearchResult(scores=scores, rows=rows)
