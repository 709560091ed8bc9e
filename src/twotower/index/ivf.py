"""What inverted files share: items in cells around centroids, of which a search visits the nearest few."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

from twotower.config.errors import InputError
from twotower.index.faiss_index import FaissIndex
from twotower.index.index import Index

POINTS_PER_CENTROID = 39
"""Faiss's own rule for how many training points a centroid needs to lie well."""

CLUSTERING_SEED = 1234


class IVF(FaissIndex):
    """Cells around `nlist` centroids found by spherical k-means; `nprobe` of them are searched.

    Args:
        nlist: number of cells; None = the square root of the number of vectors, fewer where that leaves less
            than 39 training points a centroid.
        nprobe: cells a query visits; None = chosen by tuning (a quarter of the cells until then).
        target_recall: recall@100 that tuning aims at.
        min_recall: recall@100 below which the index is rejected.

    Reference: Sivic and Zisserman, "Video Google", ICCV 2003; Johnson et al., "Billion-scale similarity
        search with GPUs", section 2.
    """

    faiss_type: type

    def __init__(
        self, *, nlist: int | None, nprobe: int | None, target_recall: float, min_recall: float
    ) -> None:
        super().__init__(target_recall=target_recall, min_recall=min_recall)
        self.nlist = nlist
        self.nprobe = nprobe

    def code_size(self, loaded: Any) -> int:
        """Return the bytes that one vector must have in a Faiss index of this kind."""
        return int(loaded.code_size)

    @abstractmethod
    def create_cells(self, quantiser: Any, dim: int, nlist: int) -> Any:
        """Return the empty Faiss index of this kind over a quantiser."""

    def arguments(self) -> dict[str, Any]:
        """See `FaissIndex.arguments`."""
        return {
            "nlist": self.nlist,
            "nprobe": self.nprobe,
            "target_recall": self.target_recall,
            "min_recall": self.min_recall,
        }

    def problems(self, dim: int | None, num_vectors: int | None) -> list[tuple[str, str]]:
        """See `Index.problems`."""
        found = super().problems(dim, num_vectors)
        nlist = self.nlist
        if num_vectors is not None and nlist is not None and nlist > num_vectors:
            advice = f"choose at most {num_vectors}, or null for about its square root"
            found.append(
                ("nlist", f"{nlist} cells are more than the {num_vectors} vectors to index: {advice}")
            )
        if nlist is None and num_vectors:
            nlist = automatic_nlist(num_vectors)
        if nlist is not None and self.nprobe is not None and self.nprobe > nlist:
            found.append(
                ("nprobe", f"{self.nprobe} is above the number of cells {nlist}: choose at most that")
            )
        return found

    def for_size(self, num_vectors: int) -> Index:
        """See `Index.for_size`; an automatic number of cells is settled here, so a rehearsal has as many."""
        nlist = self.nlist or automatic_nlist(num_vectors)
        return type(self)(**{**self.arguments(), "nlist": nlist})

    @property
    def min_training_vectors(self) -> int:
        """See `Index.min_training_vectors`."""
        return self.nlist or 1

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `FaissIndex.create`; ids are the cells' own (IDMap2 over cells errs after a removal)."""
        nlist = self.nlist or automatic_nlist(num_vectors)
        quantiser = faiss.IndexFlatIP(dim)
        created = self.create_cells(quantiser, dim, nlist)
        self.set_clustering(created.cp)
        created.cp.spherical = True
        created.nprobe = self.nprobe or max(1, nlist // 4)
        return created

    def set_clustering(self, clustering: Any) -> None:
        """Make k-means repeatable, and silent where a catalogue is small."""
        clustering.seed = CLUSTERING_SEED
        clustering.min_points_per_centroid = 1
        clustering.verbose = False
        if self.training_iterations is not None:
            clustering.niter = self.training_iterations

    def accepts(self, loaded: Any) -> bool:
        """See `FaissIndex.accepts`; searching parts that do not fit each other reads beyond their memory."""
        return type(loaded) is self.faiss_type and self._fits(loaded)

    def _fits(self, loaded: Any) -> bool:
        quantiser = faiss.downcast_index(loaded.quantizer)
        return bool(
            isinstance(quantiser, faiss.IndexFlat)
            and (quantiser.d, quantiser.ntotal) == (loaded.d, loaded.nlist)
            and (loaded.invlists.nlist, loaded.invlists.code_size) == (loaded.nlist, loaded.code_size)
            and loaded.code_size == self.code_size(loaded)
            and 1 <= loaded.nprobe <= loaded.nlist
            and loaded.is_trained
        )

    def stored_rows(self, loaded: Any) -> np.ndarray:
        """See `FaissIndex.stored_rows`."""
        cells = loaded.invlists
        parts = [np.empty(0, dtype=np.int64)]
        for cell in range(loaded.nlist):
            size = cells.list_size(cell)
            if size:
                parts.append(faiss.rev_swig_ptr(cells.get_ids(cell), size).copy())
        return np.concatenate(parts)

    def metrics(self) -> dict[str, int]:
        """See `FaissIndex.metrics`."""
        return {"index": self._built.metric_type, "quantiser": self._built.quantizer.metric_type}

    def search_grid(self) -> list[dict[str, int]]:
        """See `Index.search_grid`: nprobe 1, 2, 3, 4, 6, 8, 12 ... nlist."""
        nlist = int(self._built.nlist)
        steps = {nlist}
        for exponent in range(nlist.bit_length()):
            steps.update({2**exponent, 3 * 2**exponent // 2})
        return [{"nprobe": step} for step in sorted(steps) if step <= nlist]

    def set_search_args(self, search_args: Mapping[str, int]) -> None:
        """See `Index.set_search_args`."""
        unknown = sorted(set(search_args) - {"nprobe"})
        if unknown:
            raise InputError(f"search_args: {self.kind} has nprobe, got {', '.join(unknown)}")
        nprobe = search_args.get("nprobe", self.search_args["nprobe"])
        nlist = int(self._built.nlist)
        if not 1 <= nprobe <= nlist:
            raise InputError(f"nprobe: {nprobe} is not between 1 and the number of cells {nlist}")
        with self._lock.writing():
            self._built.nprobe = nprobe

    @property
    def search_args(self) -> dict[str, int]:
        """See `Index.search_args`."""
        return {"nprobe": int(self._built.nprobe)}

    @property
    def search_args_given(self) -> bool:
        """See `Index.search_args_given`."""
        return self.nprobe is not None

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return {"nlist": int(self._built.nlist)}

    @property
    def is_exact(self) -> bool:
        """See `Index.is_exact`; compressed vectors never are."""
        return False

    @property
    def imbalance_factor(self) -> float:
        """How unevenly items lie in cells: 1.0 is even, doubling calls for a rebuild."""
        return float(self._built.invlists.imbalance_factor())


def automatic_nlist(num_vectors: int) -> int:
    """Return about the square root of the number of vectors, with enough training points per centroid."""
    return max(1, min(math.isqrt(num_vectors), num_vectors // POINTS_PER_CENTROID))
