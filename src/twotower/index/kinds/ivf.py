"""Base class of inverted file indexes: items in lists around centroids; a search visits a few lists."""

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
from twotower.index.balance_clusters import balance_clusters, nearest
from twotower.index.centroids import count_found, find_centroids, set_clustering
from twotower.index.faiss_index import FaissIndex, list_sizes, transforms
from twotower.index.ground_truth import as_rows, as_vectors
from twotower.index.index import Index
from twotower.index.matrix_products import matrix_products

POINTS_PER_CENTROID = 39  # the minimum that Faiss recommends
NO_CODE_SIZE = 2**64 - 1
"""Code size of Faiss lists that store codes in blocks."""


class IVF(Index):
    """A list for each of the `nlist` clusters of k-means; `nprobe` of them are searched.

    Items are assigned to the nearest centroid by Euclidean distance. A query visits the lists whose centroids
    have the highest dot product with it. Norms encode popularity, so assignment by inner product would spread
    popular items over all lists.

    Reference: Sivic and Zisserman, "Video Google", ICCV 2003; Johnson et al., "Billion-scale similarity
        search with GPUs", section 2.
    """

    class Config(Index.Config):
        nlist: PositiveInt | None = None
        """Number of lists; None = the square root of the number of vectors, with at least 39 training points
        per centroid."""
        nprobe: PositiveInt | None = None
        """Number of lists that a query visits; None = chosen by tuning (before that, a quarter)."""
        fit_queries: bool = True
        """Place more clusters among the items that users' queries find; false = fit the items alone."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            num_items = context.num_items
            yield from super().problems(context)
            nlist = self.nlist
            if num_items is not None and nlist is not None and nlist > num_items:
                advice = f"choose at most {num_items}, or null for about its square root"
                yield "nlist", f"{nlist} lists are more than the {num_items} vectors to index: {advice}"
            if nlist is None and num_items:
                nlist = automatic_nlist(num_items)
            if nlist is not None and self.nprobe is not None and self.nprobe > nlist:
                yield "nprobe", f"{self.nprobe} is above the number of lists {nlist}: choose at most that"

        def for_size(self, num_items: int) -> Self:
            """See `Index.Config.for_size`; sets an automatic number of lists."""
            return self.model_copy(update={"nlist": self.nlist or automatic_nlist(num_items)})

        @property
        def min_items(self) -> int:
            return self.nlist or 1

    config: Config
    search_arg = "nprobe"
    mean_list_size: float
    """Mean number of vectors of a list when the index was built or loaded."""

    @abstractmethod
    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        """Return an empty Faiss index with this quantizer."""

    def search_target(self, inner: Any) -> Any:
        """See `Index.search_target`; the IVF, which may be inside a rotation or a refinement."""
        return faiss.downcast_index(faiss.extract_index_ivf(inner))

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `Index.create`; the lists store the ids, because IDMap2 over an IVF fails after a removal."""
        nlist = self.config.nlist or automatic_nlist(num_vectors)
        created = self.create_ivf(faiss.IndexFlatIP(dim), dim, nlist)
        set_clustering(created.cp, self.training_iterations)
        created.nprobe = self.config.nprobe or max(1, nlist // 4)
        self.mean_list_size = num_vectors / nlist
        return created

    def load(self, path: Path) -> None:
        super().load(path)
        self.mean_list_size = self._faiss_index.inner.ntotal / self.largest_search_arg

    def train(self, inner: Any, vectors: np.ndarray) -> None:
        """See `Index.train`; clusters are `centroids`, else fit `queries`, else the vectors alone."""
        ivf, centroids, num_found = self.search_target(inner), self.centroids, None
        if centroids is None and self.config.fit_queries and self.queries is not None and len(self.queries):
            num_found = count_found(vectors, self.queries, round(ivf.nlist * self.mean_list_size))
        if centroids is not None or num_found is not None:
            with matrix_products():
                for transform in transforms(inner):
                    if not transform.is_trained:
                        transform.train(vectors)
            if centroids is None:
                centroids = find_centroids(
                    transformed(inner, vectors), ivf.nlist, num_found, self.training_iterations
                )
            else:
                centroids = transformed(inner, centroids)
            faiss.downcast_index(ivf.quantizer).add(centroids)
        super().train(inner, vectors)

    def adding_context(self, inner: Any) -> AbstractContextManager[None]:
        """See `Index.adding_context`: assign vectors to the nearest centroid by Euclidean distance."""
        return euclidean_assignment(self.search_target(inner))

    def is_compatible(self, inner: Any) -> bool:
        """See `Index.is_compatible`; class and sizes must equal an empty index with these settings."""
        ivf = self.search_target(inner)
        quantizer = faiss.downcast_index(ivf.quantizer)
        if not isinstance(quantizer, faiss.IndexFlat) or quantizer.d != ivf.d:
            return False
        try:
            empty = self.create_ivf(faiss.IndexFlatIP(ivf.d), ivf.d, 1)
        except RuntimeError:  # these settings cannot encode vectors of this dimension
            return False
        return bool(
            type(ivf) is type(empty)
            and code_sizes(ivf) == code_sizes(empty)
            and quantizer.ntotal == ivf.invlists.nlist == ivf.nlist
            and ivf.invlists.code_size in (ivf.code_size, NO_CODE_SIZE)
            and 1 <= ivf.nprobe <= ivf.nlist
            and ivf.is_trained
        )

    def stored_rows(self, inner: Any) -> np.ndarray:
        return rows_in_lists(self.search_target(inner))

    def balanced(self, vectors: np.ndarray, rows: np.ndarray) -> "IVF":
        """Return an index of these items in which overfull clusters are split and empty ones dropped.

        Codes are not trained: see `balance_clusters`. Searches of this index continue meanwhile.
        `nprobe` keeps its share of the lists. The new index has no tombstones.

        Args:
            vectors: of all items of the new index, [N, D]; items of this index and new items.
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
        ivf = self.search_target(renewed.inner)
        quantizer, num_before = faiss.downcast_index(ivf.quantizer), ivf.nlist
        clustered, centroids = transformed(renewed.inner, vectors), quantizer.reconstruct_n(0, num_before)
        assigned = list_numbers(renewed, ivf, rows)
        new = assigned < 0
        assigned[new] = nearest(centroids, clustered[new])
        centroids, assigned = balance_clusters(centroids, clustered, assigned, self.mean_list_size)
        renewed.outer.reset()
        quantizer.reset()
        quantizer.add(centroids)
        set_empty_lists(ivf, len(centroids))
        ivf.nprobe = max(1, round(ivf.nprobe * ivf.nlist / num_before))
        if isinstance(renewed.outer, faiss.IndexIVF):
            ivf.add_core(len(rows), *map(faiss.swig_ptr, (vectors, rows, assigned)))
            renewed.rows = np.sort(rows)
        else:  # Faiss assigns all vectors again
            with euclidean_assignment(ivf), matrix_products():
                renewed.add(vectors, rows)
        index = self.config.build()
        assert isinstance(index, IVF)
        index._faiss_index, index.build_seconds = renewed, time.perf_counter() - started
        index.mean_list_size = self.mean_list_size
        return index

    @property
    def list_sizes(self) -> np.ndarray:
        """Number of stored vectors of each list, int64 [nlist]."""
        return list_sizes(self.search_target(self._faiss_index.inner))

    @property
    def largest_search_arg(self) -> int:
        """The number of lists."""
        return int(self.search_target(self._faiss_index.inner).nlist)

    @property
    def build_args(self) -> dict[str, int]:
        return {"nlist": self.largest_search_arg}


def transformed(inner: Any, vectors: np.ndarray) -> np.ndarray:
    """Return vectors as the IVF inside a rotation gets them."""
    for transform in transforms(inner):
        vectors = transform.apply(vectors)
    return vectors


@contextmanager
def euclidean_assignment(ivf: Any) -> Iterator[None]:
    """Assign vectors to the nearest centroid by Euclidean distance; the lists are not searched meanwhile."""
    quantizer = faiss.downcast_index(ivf.quantizer)
    quantizer.metric_type = faiss.METRIC_L2
    try:
        yield
    finally:
        quantizer.metric_type = faiss.METRIC_INNER_PRODUCT


def list_numbers(index: FaissIndex, ivf: Any, rows: np.ndarray) -> np.ndarray:
    """Return the list of each row [N], or -1 for rows that are not in the index."""
    stored, numbers = rows_in_lists(ivf), np.repeat(np.arange(ivf.nlist), list_sizes(ivf))
    if index.outer is not index.inner:
        stored = faiss.vector_to_array(index.outer.id_map)[stored]
    stored, numbers = np.append(stored, -1), np.append(numbers, -1)
    order = np.argsort(stored)
    at = order[np.searchsorted(stored, rows, side="right", sorter=order) - 1]
    return np.where(stored[at] == rows, numbers[at], -1)


def code_sizes(ivf: Any) -> list[int]:
    """Return the sizes of the codes and of their quantizer, on which the memory of a search depends."""
    sizes = [ivf.code_size]
    if hasattr(ivf, "sq"):
        sizes += [ivf.sq.qtype]
    if hasattr(ivf, "pq"):
        sizes += [ivf.pq.d, ivf.pq.M, ivf.pq.dsub, ivf.pq.nbits, ivf.pq.centroids.size()]
    if hasattr(ivf, "rabitq"):
        sizes += [ivf.rabitq.d, ivf.rabitq.code_size]
    return sizes


def set_empty_lists(ivf: Any, nlist: int) -> None:
    """Give a trained IVF without vectors another number of lists."""
    ivf.nlist, in_blocks = nlist, ivf.invlists.code_size == NO_CODE_SIZE
    before: Any = faiss.downcast_InvertedLists(ivf.invlists)
    sizes = (before.n_per_block, before.block_size) if in_blocks else (ivf.code_size,)
    lists = type(before)(nlist, *sizes)
    ivf.replace_invlists(lists, True)
    lists.this.disown()
    if in_blocks:
        ivf.init_code_packer()


def rows_in_lists(ivf: Any) -> np.ndarray:
    """Return the ids of the vectors in the lists of an IVF, int64 [N]."""
    lists, first = ivf.invlists, 0
    rows = np.empty(lists.compute_ntotal(), dtype=np.int64)
    for number in range(ivf.nlist):
        if size := lists.list_size(number):
            rows[first : first + size] = faiss.rev_swig_ptr(lists.get_ids(number), size)
            first += size
    return rows


def automatic_nlist(num_vectors: int) -> int:
    """Return about the square root of the number of vectors, with enough training points per centroid."""
    return max(1, min(math.isqrt(num_vectors), num_vectors // POINTS_PER_CENTROID))
