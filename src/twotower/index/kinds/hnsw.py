"""Graphs of neighbors."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import faiss

from twotower.config.spec import PositiveInt
from twotower.index.index import Index, RecallTarget

LARGEST_EF = 4096


class HNSW(Index):
    """A navigable graph over full vectors; a search walks from neighbor to neighbor.

    The fastest for single queries where memory and building time do not matter. Removed items stay in the
    graph as tombstones until the next build.

    Reference: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
        hierarchical navigable small world graphs", TPAMI 2020, section 4.
    """

    class Config(Index.Config):
        links: PositiveInt = 32
        """M, the neighbors of a vector in each layer; the lowest has twice as many."""
        candidates: PositiveInt = 200
        """Vectors that are examined to find the neighbors of a new one (efConstruction)."""
        min_recall: RecallTarget = 0.9

    config: Config
    kind = "hnsw"
    faiss_type: ClassVar[type] = faiss.IndexHNSWFlat
    search_arg = "hnsw.efSearch"

    def create(self, dim: int, num_vectors: int) -> Any:
        created = self.create_graph(dim)
        created.hnsw.efConstruction = created.hnsw.efSearch = self.config.candidates
        return created

    def create_graph(self, dim: int) -> Any:
        """Return an empty Faiss graph."""
        return faiss.IndexHNSWFlat(dim, self.config.links, faiss.METRIC_INNER_PRODUCT)

    def adding_context(self, inner: Any) -> AbstractContextManager[None]:
        """See `Index.adding_context`; fills every list of neighbors, so that short vectors stay reachable."""
        inner.keep_max_size_level0 = True  # not stored in files
        return nullcontext()

    @property
    def largest_search_arg(self) -> int:
        """See `Index.largest_search_arg`; larger values are no faster than exact search."""
        return min(super().largest_search_arg, max(LARGEST_EF, self.config.candidates))

    @property
    def build_args(self) -> dict[str, int]:
        graph = self._faiss_index.inner.hnsw
        return {"links": int(graph.nb_neighbors(1)), "candidates": int(graph.efConstruction)}
