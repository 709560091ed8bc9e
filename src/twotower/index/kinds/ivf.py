"""Base class of inverted file indexes: items in cells around centroids; a search visits a few cells."""

import math
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt
from twotower.index.cell_split import balance_cells, nearest
from twotower.index.centroids import count_found, find_centroids, set_clustering
from twotower.index.faiss_index import FaissIndex, cell_sizes, transforms
from twotower.index.ground_truth import as_rows, as_vectors
from twotower.index.index import Index
from twotower.index.matrix_products import matrix_products

POINTS_PER_CENTROID = 39  # the minimum that Faiss recommends
NO_CODE_SIZE = 2**64 - 1
"""Code size of Faiss lists that store codes in blocks."""


class IVF(Index):
    """Cells around `nlist` centroids found by k-means; `nprobe` of them are searched.

    Items are assigned to the nearest centroid by Euclidean distance. A query visits the cells whose centroids
    have the highest dot product with it. Norms encode popularity, so assignment by inner product would spread
    popular items over all cells.

    Reference: Sivic and Zisserman, "Video Google", ICCV 2003; Johnson et al., "Billion-scale similarity
        search with GPUs", section 2.
    """

    class Config(Index.Config):
        nlist: PositiveInt | None = None
        """Number of cells; None = the square root of the number of vectors, with at least 39 training points
        per centroid."""
        nprobe: PositiveInt | None = None
        """Number of cells that a query visits; None = chosen by tuning (before that, a quarter)."""
        fit_queries: bool = True
        """Place more cells among the items that users' queries find; false = cells fit the items alone."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            num_items = context.num_items
            yield from super().problems(context)
            nlist = self.nlist
            if num_items is not None and nlist is not None and nlist > num_items:
                advice = f"choose at most {num_items}, or null for about its square root"
                yield "nlist", f"{nlist} cells are more than the {num_items} vectors to index: {advice}"
            if nlist is None and num_items:
                nlist = automatic_nlist(num_items)
            if nlist is not None and self.nprobe is not None and self.nprobe > nlist:
                yield "nprobe", f"{self.nprobe} is above the number of cells {nlist}: choose at most that"

        def for_size(self, num_items: int) -> Self:
            """See `Index.Config.for_size`; sets an automatic number of cells."""
            return self.model_copy(update={"nlist": self.nlist or automatic_nlist(num_items)})

        @property
        def min_items(self) -> int:
            return self.nlist or 1

    config: Config
    search_arg = "nprobe"
    cell_size: float
    """Mean number of vectors of a cell when the index was built or loaded."""

    @abstractmethod
    def create_cells(self, quantizer: Any, dim: int, nlist: int) -> Any:
        """Return an empty Faiss index with this quantizer."""

    def searched(self, inner: Any) -> Any:
        """See `Index.searched`; the cells, which may be inside a rotation or a refinement."""
        return faiss.downcast_index(faiss.extract_index_ivf(inner))

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `Index.create`; the cells store the ids, because IDMap2 over cells fails after a removal."""
        nlist = self.config.nlist or automatic_nlist(num_vectors)
        created = self.create_cells(faiss.IndexFlatIP(dim), dim, nlist)
        set_clustering(created.cp, self.training_iterations)
        created.nprobe = self.config.nprobe or max(1, nlist // 4)
        self.cell_size = num_vectors / nlist
        return created

    def load(self, path: Path) -> None:
        super().load(path)
        self.cell_size = self._faiss_index.inner.ntotal / self.largest_search_arg

    def train(self, inner: Any, vectors: np.ndarray) -> None:
        """See `Index.train`; cells are those of `centroids`, else fit `queries`, else the vectors alone."""
        cells, centroids, num_found = self.searched(inner), self.centroids, None
        if centroids is None and self.config.fit_queries and self.queries is not None and len(self.queries):
            num_found = count_found(vectors, self.queries, round(cells.nlist * self.cell_size))
        if centroids is not None or num_found is not None:
            with matrix_products():
                for transform in transforms(inner):
                    if not transform.is_trained:
                        transform.train(vectors)
            if centroids is None:
                centroids = find_centroids(
                    transformed(inner, vectors), cells.nlist, num_found, self.training_iterations
                )
            else:
                centroids = transformed(inner, centroids)
            faiss.downcast_index(cells.quantizer).add(centroids)
        super().train(inner, vectors)

    def taking_in(self, inner: Any) -> AbstractContextManager[None]:
        """See `Index.taking_in`: assign vectors to the nearest centroid by Euclidean distance."""
        return euclidean_cells(self.searched(inner))

    def fits(self, inner: Any) -> bool:
        """See `Index.fits`; the cells must have the class and the sizes of empty ones of these settings."""
        cells = self.searched(inner)
        quantizer = faiss.downcast_index(cells.quantizer)
        if not isinstance(quantizer, faiss.IndexFlat) or quantizer.d != cells.d:
            return False
        try:
            empty = self.create_cells(faiss.IndexFlatIP(cells.d), cells.d, 1)
        except RuntimeError:  # these settings cannot encode vectors of this dimension
            return False
        return bool(
            type(cells) is type(empty)
            and code_sizes(cells) == code_sizes(empty)
            and quantizer.ntotal == cells.invlists.nlist == cells.nlist
            and cells.invlists.code_size in (cells.code_size, NO_CODE_SIZE)
            and 1 <= cells.nprobe <= cells.nlist
            and cells.is_trained
        )

    def stored_rows(self, inner: Any) -> np.ndarray:
        return rows_in_cells(self.searched(inner))

    def balanced(self, vectors: np.ndarray, rows: np.ndarray) -> "IVF":
        """Return an index of these items in which overfull cells are split and empty ones dropped.

        Codes are not trained: see `balance_cells`. Searches of this index continue meanwhile.
        `nprobe` keeps its share of the cells. The new index has no tombstones.

        Args:
            vectors: of all items of the new index, [N, D]; those of this index and others.
            rows: [N].

        Raises:
            InputError: as `build`.
        """
        started = time.perf_counter()
        vectors = as_vectors(vectors, "item vectors", self.dim)
        rows = as_rows(rows, len(vectors))
        if not len(rows):
            raise InputError("item vectors: there are none, so there is nothing to index")
        self.check_range(vectors)
        with self._lock.reading():
            renewed = FaissIndex(faiss.clone_index(self._faiss_index.outer))
        cells = self.searched(renewed.inner)
        quantizer, num_before = faiss.downcast_index(cells.quantizer), cells.nlist
        clustered, centroids = transformed(renewed.inner, vectors), quantizer.reconstruct_n(0, num_before)
        assigned = cells_of(renewed, cells, rows)
        new = assigned < 0
        assigned[new] = nearest(centroids, clustered[new])
        centroids, assigned = balance_cells(centroids, clustered, assigned, self.cell_size)
        renewed.outer.reset()
        quantizer.reset()
        quantizer.add(centroids)
        set_empty_lists(cells, len(centroids))
        cells.nprobe = max(1, round(cells.nprobe * cells.nlist / num_before))
        if isinstance(renewed.outer, faiss.IndexIVF):
            cells.add_core(len(rows), *map(faiss.swig_ptr, (vectors, rows, assigned)))
            renewed.rows = np.sort(rows)
        else:  # Faiss assigns all vectors again
            with euclidean_cells(cells), matrix_products():
                renewed.add(vectors, rows)
        index = self.config.build()
        assert isinstance(index, IVF)
        index._faiss_index, index.build_seconds = renewed, time.perf_counter() - started
        index.cell_size = self.cell_size
        return index

    @property
    def cell_sizes(self) -> np.ndarray:
        """Number of stored vectors of each cell, int64 [nlist]."""
        return cell_sizes(self.searched(self._faiss_index.inner))

    @property
    def largest_search_arg(self) -> int:
        """The number of cells."""
        return int(self.searched(self._faiss_index.inner).nlist)

    @property
    def build_args(self) -> dict[str, int]:
        return {"nlist": self.largest_search_arg}


def transformed(inner: Any, vectors: np.ndarray) -> np.ndarray:
    """Return vectors as the cells inside a rotation get them."""
    for transform in transforms(inner):
        vectors = transform.apply(vectors)
    return vectors


@contextmanager
def euclidean_cells(cells: Any) -> Iterator[None]:
    """Assign vectors to the nearest centroid by Euclidean distance; the cells are not searched meanwhile."""
    quantizer = faiss.downcast_index(cells.quantizer)
    quantizer.metric_type = faiss.METRIC_L2
    try:
        yield
    finally:
        quantizer.metric_type = faiss.METRIC_INNER_PRODUCT


def cells_of(index: FaissIndex, cells: Any, rows: np.ndarray) -> np.ndarray:
    """Return the cell of each row [N], or -1 for rows that are not in the index."""
    stored, numbers = rows_in_cells(cells), np.repeat(np.arange(cells.nlist), cell_sizes(cells))
    if index.outer is not index.inner:
        stored = faiss.vector_to_array(index.outer.id_map)[stored]
    stored, numbers = np.append(stored, -1), np.append(numbers, -1)
    order = np.argsort(stored)
    at = order[np.searchsorted(stored, rows, side="right", sorter=order) - 1]
    return np.where(stored[at] == rows, numbers[at], -1)


def code_sizes(cells: Any) -> list[int]:
    """Return the sizes of the codes and of their quantizer, on which the memory of a search depends."""
    sizes = [cells.code_size]
    if hasattr(cells, "sq"):
        sizes += [cells.sq.qtype]
    if hasattr(cells, "pq"):
        sizes += [cells.pq.d, cells.pq.M, cells.pq.dsub, cells.pq.nbits, cells.pq.centroids.size()]
    if hasattr(cells, "rabitq"):
        sizes += [cells.rabitq.d, cells.rabitq.code_size]
    return sizes


def set_empty_lists(cells: Any, nlist: int) -> None:
    """Give trained cells without vectors another number of lists."""
    cells.nlist, in_blocks = nlist, cells.invlists.code_size == NO_CODE_SIZE
    before: Any = faiss.downcast_InvertedLists(cells.invlists)
    sizes = (before.n_per_block, before.block_size) if in_blocks else (cells.code_size,)
    lists = type(before)(nlist, *sizes)
    cells.replace_invlists(lists, True)
    lists.this.disown()
    if in_blocks:
        cells.init_code_packer()


def rows_in_cells(cells: Any) -> np.ndarray:
    """Return the ids of the vectors in cells, int64 [N]."""
    lists, first = cells.invlists, 0
    rows = np.empty(lists.compute_ntotal(), dtype=np.int64)
    for cell in range(cells.nlist):
        if size := lists.list_size(cell):
            rows[first : first + size] = faiss.rev_swig_ptr(lists.get_ids(cell), size)
            first += size
    return rows


def automatic_nlist(num_vectors: int) -> int:
    """Return about the square root of the number of vectors, with enough training points per centroid."""
    return max(1, min(math.isqrt(num_vectors), num_vectors // POINTS_PER_CENTROID))
