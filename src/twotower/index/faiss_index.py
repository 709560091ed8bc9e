"""A Faiss object whose ids are item rows, and which can remove vectors.

A Faiss class without ids or removal (a graph, for example) is wrapped in `faiss.IndexIDMap`. A removed vector
gets the id TOMBSTONE: searches still visit it, but results exclude it, and the next build drops it. The file
includes ids and tombstones.
"""

import math
import platform
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
FAISS: Any = faiss  # type stubs lack the arguments of selectors and search parameters
LIST_EFFORT = 2.0
"""Factor on `nprobe` among the lists with allowed items, because queries may be far from all of them."""
BITS_PER_ROW = 64
"""Up to this many bits per row, allowed rows are a bitmap: faster than a hash set."""


FAST_SCANS = (faiss.IndexFastScan, faiss.IndexIVFFastScan)
"""Classes whose `add` mixes new codes with codes of removed vectors, which therefore become tombstones."""


class FaissIndex:
    """Vectors in a Faiss object and their rows; a row is never added twice.

    Attributes:
        outer: the object that is searched and saved: `inner`, or an IndexIDMap around it.
        inner: the object that `Index.create` returned.
        num_tombstones: number of removed vectors that the object still stores.
        rows: of the vectors that are not removed, int64 [N] ascending.
    """

    def __init__(self, outer: Any) -> None:
        self.outer, self.rows = outer, np.empty(0, dtype=np.int64)
        self.dim, self.num_tombstones = int(outer.d), 0
        self._row_lists: RowLists | None = None  # found by the first filtered search after a change
        self.inner: Any = faiss.downcast_index(outer.index) if isinstance(outer, faiss.IndexIDMap) else outer
        self._is_fast_scan = isinstance(innermost(self.inner), FAST_SCANS)

    @classmethod
    def wrap(cls, trained: Any) -> "FaissIndex":
        """Wrap a trained Faiss object without vectors, in an IndexIDMap if it lacks ids or removal."""
        if isinstance(innermost(trained), FAST_SCANS):
            return cls(faiss.IndexIDMap(trained))
        try:
            trained.add_with_ids(np.empty((0, trained.d), dtype=np.float32), np.empty(0, dtype=np.int64))
            trained.remove_ids(np.empty(0, dtype=np.int64))
        except RuntimeError:  # Faiss raises it for an operation that a class does not implement
            # IDMap2 adds a hash table for reconstruction, which is not used.
            return cls(faiss.IndexIDMap(trained))
        return cls(trained)

    @property
    def num_rows(self) -> int:
        """Number of vectors that are not removed."""
        return int(self.outer.ntotal) - self.num_tombstones

    def find_rows(self, stored_rows: Callable[[Any], np.ndarray]) -> bool:
        """Set `rows` after loading, by `stored_rows` without an IndexIDMap; returns whether counts agree."""
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
        present = contains(self.rows, rows)
        if present.any():
            raise InputError(f"rows: {rows[present][0]} is already in the index; remove it first")
        for part, block in vector_blocks(vectors, "item vectors"):
            self.outer.add_with_ids(block, rows[part])
        ordered = np.sort(rows)
        if len(self.rows):
            ordered = np.insert(self.rows, np.searchsorted(self.rows, ordered), ordered)
        self.rows, self._row_lists = ordered, None

    def remove(self, rows: np.ndarray) -> int:
        """Remove vectors, or mark them as tombstones. Returns the number of removed vectors."""
        present = np.unique(rows[contains(self.rows, rows)])
        if not len(present):
            return 0
        if self._is_fast_scan and self._ids is not None:
            self._mark(present)
        else:
            try:
                self.outer.remove_ids(present)
            except RuntimeError:
                if self._ids is None:
                    raise
                self._mark(present)
        self.rows, self._row_lists = np.delete(self.rows, np.searchsorted(self.rows, present)), None
        return len(present)

    def _mark(self, rows: np.ndarray) -> None:
        """Mark the vectors of rows as tombstones, in an IndexIDMap."""
        table = self._ids
        assert table is not None
        table[np.isin(table, rows)] = TOMBSTONE
        self.num_tombstones += len(rows)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> SearchResult:
        """Return the top k (of allowed rows [n]); positions without a vector have row -1 and score -inf."""
        if allowed is not None:
            return self._search_allowed(queries, k, allowed)
        if self.num_tombstones or k > self.num_rows:
            return self._search_past_others(queries, k)
        return _padded(*self.outer.search(queries, k))

    def _search_allowed(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> SearchResult:
        """Search with a selector, or filter the results of a Faiss class that takes none."""
        size = min(k, len(allowed), len(self.rows))
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        if size and len(queries):
            part, ids = self.inner, self._ids
            if isinstance(part, faiss.IndexHNSW):  # the walk misses items that are far from a query
                part = faiss.downcast_index(part.storage)
            selector, effort, lists = self._selection(allowed)
            if ids is not None:  # an IndexIDMap translates no selector of an inner part
                selector = FAISS.IDSelectorTranslated(self.outer.id_map, selector)
            parameters = search_parameters(part, selector, effort, lists)
            try:
                scores[:, :size], found = part.search(queries, size, params=parameters)
            except RuntimeError:  # the class takes no parameters
                return self._search_past_others(queries, k, np.sort(allowed))
            rows[:, :size] = found if ids is None else np.where(found < 0, -1, ids[found])
        return _padded(scores, rows)

    def _selection(self, allowed: np.ndarray) -> tuple[Any, float, np.ndarray | None]:
        """Return a selector of rows, the factor on the search argument, and which lists have rows [nlist]."""
        effort, num_rows = math.sqrt(max(1.0, len(self.rows) / len(allowed))), 1 + int(self.rows[-1])
        if num_rows > BITS_PER_ROW * len(self.rows):
            return FAISS.IDSelectorBatch(allowed), effort, None
        is_allowed = np.zeros(num_rows, dtype=np.bool_)
        allowed = allowed[allowed < num_rows] if allowed.max() >= num_rows else allowed
        is_allowed[allowed] = True
        if (part := FAISS.try_extract_index_ivf(self.inner)) is None:
            return bitmap_selector(is_allowed), effort, None
        self._row_lists = lists = self._row_lists or find_row_lists(part, self._ids, num_rows)
        counts = np.bincount(lists.of_row[allowed], minlength=part.nlist + 1)[: part.nlist]
        has_allowed = counts > 0
        effort = LIST_EFFORT * math.sqrt(lists.sizes[has_allowed].sum() / max(1, counts.sum()))
        return bitmap_selector(is_allowed), effort, has_allowed

    @property
    def _ids(self) -> np.ndarray | None:
        """The row of each position of an IndexIDMap, int64 [N]; None without one."""
        if self.outer is self.inner:
            return None
        ids: np.ndarray = faiss.rev_swig_ptr(self.outer.id_map.data(), self.outer.id_map.size())
        return ids

    def _search_past_others(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> SearchResult:
        """Fetch more than k, and double that for queries whose results are mostly tombstones or not allowed.

        Args:
            allowed: rows that may be returned, ascending; None allows all.
        """
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        num_live = self.num_rows if allowed is None else min(len(allowed), self.num_rows)
        num_stored = int(self.outer.ntotal)
        wanted = min(k, num_live)
        left = np.arange(len(queries) if wanted else 0)
        # Twice as many tombstones as expected, because a second search costs more than a longer first one.
        size = min(math.ceil(wanted * (2 * num_stored / max(1, num_live) - 1)), num_stored)
        while len(left):
            found_scores, found = self.outer.search(queries[left], size)
            if allowed is not None:
                found[(found >= 0) & ~contains(allowed, found)] = TOMBSTONE
            first = np.argsort(found < 0, axis=1, kind="stable")[:, :wanted]  # not removed, in order
            scores[left, :wanted] = np.take_along_axis(found_scores, first, axis=1)
            rows[left, :wanted] = np.take_along_axis(found, first, axis=1)
            enough = ((found >= 0).sum(axis=1) >= wanted) | (found == -1).any(axis=1) | (size == num_stored)
            left, size = left[~enough], min(2 * size, num_stored)
        return _padded(scores, rows)


class RowLists(NamedTuple):
    """The list of each row, int32 [rows], `nlist` for absent rows, and the number of vectors in each list."""

    of_row: np.ndarray
    sizes: np.ndarray


def parts_of(index: Any) -> Iterator[Any]:
    """Yield an index and those inside it: below transforms and refinements."""
    yield index
    for name in ("index", "base_index"):
        if hasattr(index, name):
            yield from parts_of(faiss.downcast_index(getattr(index, name)))


def innermost(index: Any) -> Any:
    """Return the part of an index that has the vectors that are searched first."""
    return [*parts_of(index)][-1]


def transforms(index: Any) -> Iterator[Any]:
    """Yield the transforms of the parts of an index, the outermost first."""
    for part in parts_of(index):
        if isinstance(part, faiss.IndexPreTransform):
            chain: Any = part.chain
            yield from (faiss.downcast_VectorTransform(chain.at(place)) for place in range(chain.size()))


def list_sizes(lists: Any) -> np.ndarray:
    """Return the number of vectors in each list, int64 [nlist]."""
    return np.array([lists.invlists.list_size(number) for number in range(lists.nlist)], dtype=np.int64)


def find_row_lists(part: Any, ids: np.ndarray | None, num_rows: int) -> RowLists:
    """Return the lists of a Faiss object whose vectors have rows, or positions with these `ids`."""
    lists, of_row = part.invlists, np.full(num_rows, part.nlist, dtype=np.int32)
    sizes = list_sizes(part)
    for number in np.flatnonzero(sizes).tolist():
        rows = faiss.rev_swig_ptr(lists.get_ids(number), int(sizes[number]))
        rows = rows if ids is None else ids[rows]
        of_row[rows[rows >= 0]] = number
    return RowLists(of_row, sizes)


def bitmap_selector(is_allowed: np.ndarray) -> Any:
    """Return a Faiss selector of the ids i with `is_allowed[i]`."""
    return FAISS.IDSelectorBitmap(np.packbits(is_allowed, bitorder="little"))


def search_parameters(part: Any, selector: Any, effort: float = 1.0, lists: np.ndarray | None = None) -> Any:
    """Return parameters that restrict a Faiss object to the ids of a selector.

    Args:
        effort: factor on `nprobe` or `efSearch`, because the best of few items lie further apart.
        lists: which lists may be searched, bool [nlist]; None: all. `nprobe` is at most their number, because
            the missing ones would have a score of -inf, which spoils the 8-bit sums of a fast scan.
    """
    if isinstance(part, faiss.IndexRefine):
        base = search_parameters(faiss.downcast_index(part.base_index), selector, effort, lists)
        return FAISS.IndexRefineSearchParameters(k_factor=part.k_factor, base_index_params=base)
    if isinstance(part, faiss.IndexPreTransform):
        inner = search_parameters(faiss.downcast_index(part.index), selector, effort, lists)
        return FAISS.SearchParametersPreTransform(index_params=inner)
    if isinstance(part, faiss.IndexIVF):
        nprobe, coarse = min(part.nlist, math.ceil(effort * part.nprobe)), None
        if lists is not None:
            nprobe = max(1, min(nprobe, int(lists.sum())))
            coarse = search_parameters(faiss.downcast_index(part.quantizer), bitmap_selector(lists))
        return FAISS.SearchParametersIVF(sel=selector, nprobe=nprobe, quantizer_params=coarse)
    if isinstance(part, faiss.IndexHNSW):
        return FAISS.SearchParametersHNSW(sel=selector, efSearch=math.ceil(effort * part.hnsw.efSearch))
    return FAISS.SearchParameters(sel=selector)


def _padded(scores: np.ndarray, rows: np.ndarray) -> SearchResult:
    """Set row -1 and score -inf where there is no item."""
    if min(rows[:, -1].tolist(), default=0) < 0:  # an approximate index gives fewer than there are
        scores[rows < 0], rows[rows < 0] = -np.inf, -1
    return SearchResult(scores=scores, rows=rows)
