"""Base class of inverted file indexes: items in cells around centroids; a search visits a few cells."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import faiss
import numpy as np

from twotower.config.spec import PositiveInt
from twotower.index.index import Index

POINTS_PER_CENTROID = 39  # the minimum that Faiss recommends
CLUSTERING_SEED = 1234


class IVF(Index):
    """Cells around `nlist` centroids found by k-means; `nprobe` of them are searched.

    Items are assigned to the nearest centroid by Euclidean distance. A query visits the cells whose centroids
    have the highest dot product with it. Norms encode popularity, so assignment by inner product would spread
    popular items over all cells.

    Reference: Sivic and Zisserman, "Video Google", ICCV 2003; Johnson et al., "Billion-scale similarity
        search with GPUs", section 2.
    """

    class Config(Index.Config):
        """Settings of inverted file indexes."""

        nlist: PositiveInt | None = None
        """Number of cells; None = the square root of the number of vectors, with at least 39 training points
        per centroid."""
        nprobe: PositiveInt | None = None
        """Number of cells that a query visits; None = chosen by tuning (before that, a quarter)."""

        def problems(
            self, embedding_dim: int | None = None, num_items: int | None = None
        ) -> Iterator[tuple[str, str]]:
            """See `Index.Config.problems`."""
            yield from super().problems(embedding_dim, num_items)
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
            """See `Index.Config.min_items`."""
            return self.nlist or 1

    config: Config
    search_arg = "nprobe"

    @abstractmethod
    def create_cells(self, quantizer: Any, dim: int, nlist: int) -> Any:
        """Return an empty Faiss index with this quantizer."""

    @abstractmethod
    def code_size(self, inner: Any) -> int:
        """Return the expected number of bytes per vector, or -1 if the index is inconsistent."""

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `Index.create`; the cells store the ids, because IDMap2 over cells fails after a removal."""
        nlist = self.config.nlist or automatic_nlist(num_vectors)
        quantizer = faiss.IndexFlatIP(dim)
        created = self.create_cells(quantizer, dim, nlist)
        self.set_clustering(created.cp)
        created.cp.spherical = False  # the Faiss default for inner products is True
        created.nprobe = self.config.nprobe or max(1, nlist // 4)
        return created

    def set_clustering(self, clustering: Any) -> None:
        """Fix the seed of k-means, and silence its warnings about few training points."""
        clustering.seed = CLUSTERING_SEED
        clustering.min_points_per_centroid = 1
        clustering.verbose = False
        if self.training_iterations is not None:
            clustering.niter = self.training_iterations

    @contextmanager
    def taking_in(self, inner: Any) -> Iterator[None]:
        """See `Index.taking_in`: assign vectors to the nearest centroid by Euclidean distance."""
        quantizer = faiss.downcast_index(inner.quantizer)
        quantizer.metric_type = faiss.METRIC_L2
        try:
            yield
        finally:
            quantizer.metric_type = faiss.METRIC_INNER_PRODUCT

    def fits(self, inner: Any) -> bool:
        """See `Index.fits`."""
        quantizer = faiss.downcast_index(inner.quantizer)
        return bool(
            isinstance(quantizer, faiss.IndexFlat)
            and (quantizer.d, quantizer.ntotal) == (inner.d, inner.nlist)
            and (inner.invlists.nlist, inner.invlists.code_size) == (inner.nlist, inner.code_size)
            and inner.code_size == self.code_size(inner)
            and 1 <= inner.nprobe <= inner.nlist
            and inner.is_trained
        )

    def stored_rows(self, inner: Any) -> np.ndarray:
        """See `Index.stored_rows`."""
        cells = inner.invlists
        parts = [np.empty(0, dtype=np.int64)]
        for cell in range(inner.nlist):
            if size := cells.list_size(cell):
                parts.append(faiss.rev_swig_ptr(cells.get_ids(cell), size).copy())
        return np.concatenate(parts)

    @property
    def largest_search_arg(self) -> int:
        """The number of cells."""
        return int(self._faiss_index.inner.nlist)

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return {"nlist": int(self._faiss_index.inner.nlist)}


def automatic_nlist(num_vectors: int) -> int:
    """Return about the square root of the number of vectors, with enough training points per centroid."""
    return max(1, min(math.isqrt(num_vectors), num_vectors // POINTS_PER_CENTROID))
