"""What inverted files share: items in cells around centroids, of which a search visits the nearest few."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import faiss
import numpy as np

from twotower.config.spec import PositiveInt
from twotower.index.index import Index

POINTS_PER_CENTROID = 39  # Faiss's own rule for how many training points a centroid needs to lie well
CLUSTERING_SEED = 1234


class IVF(Index):
    """Cells around `nlist` centroids found by k-means; `nprobe` of them are searched.

    An item lies in the cell whose centroid is at the least distance; a query visits the cells whose centroids
    have the highest dot product with it, the mean score of their items. Where lengths tell items apart, as
    popularity does in the default recipe, cells by direction alone have popular items in all of them: of
    17,931 made-up items in 133 cells, the 8 visited first hold .995 of the best hundred, where cells by
    direction hold .20 (32 of them .65). Of vectors of one length both do as well.

    Reference: Sivic and Zisserman, "Video Google", ICCV 2003; Johnson et al., "Billion-scale similarity
        search with GPUs", section 2.
    """

    class Config(Index.Config):
        """Settings of every inverted file."""

        nlist: PositiveInt | None = None
        """Number of cells; None = the square root of the number of vectors, fewer where that leaves less than
        39 training points a centroid."""
        nprobe: PositiveInt | None = None
        """Cells a query visits; None = chosen by tuning (a quarter of the cells until then)."""

        def problems(
            self, embedding_dim: int | None = None, num_items: int | None = None
        ) -> list[tuple[str, str]]:
            """See `Index.Config.problems`."""
            found = super().problems(embedding_dim, num_items)
            nlist = self.nlist
            if num_items is not None and nlist is not None and nlist > num_items:
                advice = f"choose at most {num_items}, or null for about its square root"
                message = f"{nlist} cells are more than the {num_items} vectors to index: {advice}"
                found.append(("nlist", message))
            if nlist is None and num_items:
                nlist = automatic_nlist(num_items)
            if nlist is not None and self.nprobe is not None and self.nprobe > nlist:
                message = f"{self.nprobe} is above the number of cells {nlist}: choose at most that"
                found.append(("nprobe", message))
            return found

        def for_size(self, num_items: int) -> Self:
            """See `Index.Config.for_size`: an automatic number of cells is settled."""
            return self.model_copy(update={"nlist": self.nlist or automatic_nlist(num_items)})

        @property
        def min_items(self) -> int:
            """See `Index.Config.min_items`."""
            return self.nlist or 1

    config: Config
    search_arg = "nprobe"

    @abstractmethod
    def create_cells(self, quantiser: Any, dim: int, nlist: int) -> Any:
        """Return the empty Faiss index of this kind over a quantiser."""

    @abstractmethod
    def code_size(self, own: Any) -> int:
        """Return the bytes that one vector must have in a Faiss index of this kind; -1 where none fits."""

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `Index.create`; ids are the cells' own (IDMap2 over cells errs after a removal)."""
        nlist = self.config.nlist or automatic_nlist(num_vectors)
        quantiser = faiss.IndexFlatIP(dim)
        created = self.create_cells(quantiser, dim, nlist)
        self.set_clustering(created.cp)
        created.cp.spherical = False  # which Faiss takes to be wanted with dot products
        created.nprobe = self.config.nprobe or max(1, nlist // 4)
        return created

    def set_clustering(self, clustering: Any) -> None:
        """Make k-means repeatable, and silent where a catalogue is small."""
        clustering.seed = CLUSTERING_SEED
        clustering.min_points_per_centroid = 1
        clustering.verbose = False
        if self.training_iterations is not None:
            clustering.niter = self.training_iterations

    @contextmanager
    def taking_in(self, own: Any) -> Iterator[None]:
        """See `Index.taking_in`: the cell of a vector is that of the nearest centroid by distance."""
        quantiser = faiss.downcast_index(own.quantizer)
        quantiser.metric_type = faiss.METRIC_L2
        try:
            yield
        finally:
            quantiser.metric_type = faiss.METRIC_INNER_PRODUCT

    def fits(self, own: Any) -> bool:
        """See `Index.fits`."""
        quantiser = faiss.downcast_index(own.quantizer)
        return bool(
            isinstance(quantiser, faiss.IndexFlat)
            and (quantiser.d, quantiser.ntotal) == (own.d, own.nlist)
            and (own.invlists.nlist, own.invlists.code_size) == (own.nlist, own.code_size)
            and own.code_size == self.code_size(own)
            and 1 <= own.nprobe <= own.nlist
            and own.is_trained
        )

    def stored_rows(self, own: Any) -> np.ndarray:
        """See `Index.stored_rows`."""
        cells = own.invlists
        parts = [np.empty(0, dtype=np.int64)]
        for cell in range(own.nlist):
            if size := cells.list_size(cell):
                parts.append(faiss.rev_swig_ptr(cells.get_ids(cell), size).copy())
        return np.concatenate(parts)

    @property
    def largest_search_arg(self) -> int:
        """All cells."""
        return int(self._faiss_index.inner.nlist)

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return {"nlist": int(self._faiss_index.inner.nlist)}


def automatic_nlist(num_vectors: int) -> int:
    """Return about the square root of the number of vectors, with enough training points per centroid."""
    return max(1, min(math.isqrt(num_vectors), num_vectors // POINTS_PER_CENTROID))
