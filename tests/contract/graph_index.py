"""A stranger's kind of index: a graph, which takes no ids, cannot remove, and says nothing about either."""

from typing import Any

import faiss

from twotower.config.spec import PositiveInt
from twotower.index.faiss_index import FaissIndex
from twotower.index.index import Recall


class Graph(FaissIndex):
    """Vectors linked with their neighbours (HNSW).

    Args:
        links: of a vector.
        target_recall: recall@100 that tuning aims at.
        min_recall: recall@100 below which the index is rejected.
    """

    kind = "graph"

    def __init__(
        self, *, links: PositiveInt = 64, target_recall: Recall = 0.95, min_recall: Recall = 0.9
    ) -> None:
        super().__init__(target_recall=target_recall, min_recall=min_recall)
        self.links = links

    def arguments(self) -> dict[str, Any]:
        return {"links": self.links, "target_recall": self.target_recall, "min_recall": self.min_recall}

    def create(self, dim: int, num_vectors: int) -> Any:
        created = faiss.IndexHNSWFlat(dim, self.links, faiss.METRIC_INNER_PRODUCT)
        created.hnsw.efConstruction, created.hnsw.efSearch = 200, 200
        return created

    def accepts(self, loaded: Any) -> bool:
        return isinstance(loaded, faiss.IndexHNSWFlat)

    def metrics(self) -> dict[str, int]:
        return {"index": self._built.metric_type}

    @property
    def is_exact(self) -> bool:
        return False

    @property
    def factory(self) -> str:
        return f"HNSW{self.links}"


class GraphWithIds(Graph):
    """The same, by a stranger who has given it a table of ids."""

    kind = "graph_with_ids"

    def create(self, dim: int, num_vectors: int) -> Any:
        return faiss.IndexIDMap2(super().create(dim, num_vectors))

    def accepts(self, loaded: Any) -> bool:
        return isinstance(loaded, faiss.IndexIDMap2) and super().accepts(faiss.downcast_index(loaded.index))
