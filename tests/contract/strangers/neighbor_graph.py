"""An index of somebody else's: a graph, which takes no ids, cannot remove, and says nothing about either."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import faiss

from twotower.config.spec import PositiveInt
from twotower.index.index import Index, RecallTarget


class NeighborGraph(Index):
    """Vectors linked with their neighbors, layer below layer.

    Reference: Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using
    hierarchical navigable small world graphs, TPAMI 2020, section 4.
    """

    class Config(Index.Config):
        """Settings of the graph."""

        links: PositiveInt = 64
        """M, of a vector in each layer."""
        candidates: PositiveInt = 200
        """Vectors that are looked at for the links of a new one; by a search too, until it is tuned."""
        min_recall: RecallTarget = 0.9

    config: Config
    kind = "neighbor_graph"
    faiss_type = faiss.IndexHNSWFlat
    search_arg = "hnsw.efSearch"

    def create(self, dim: int, num_vectors: int) -> Any:
        created = faiss.IndexHNSWFlat(dim, self.config.links, faiss.METRIC_INNER_PRODUCT)
        created.hnsw.efConstruction = created.hnsw.efSearch = self.config.candidates
        return created

    def adding_context(self, inner: Any) -> AbstractContextManager[None]:
        inner.keep_max_size_level0 = True  # short vectors need links; files do not store it
        return nullcontext()
