"""Exact search: every query meets every vector."""

from typing import Any

import faiss

from twotower.index.faiss_index import FaissIndex
from twotower.index.index import Recall


class FlatIP(FaissIndex):
    """All vectors as they are; exact, and fast enough to about a million items.

    Args:
        target_recall: recall@100 that tuning aims at (it has nothing to choose here).
        min_recall: recall@100 below which the index is rejected.
    """

    kind = "flat_ip"

    def __init__(self, *, target_recall: Recall = 1.0, min_recall: Recall = 1.0) -> None:
        super().__init__(target_recall=target_recall, min_recall=min_recall)

    def arguments(self) -> dict[str, Any]:
        """See `FaissIndex.arguments`."""
        return {"target_recall": self.target_recall, "min_recall": self.min_recall}

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `FaissIndex.create`."""
        return faiss.IndexFlatIP(dim)

    def accepts(self, loaded: Any) -> bool:
        """See `FaissIndex.accepts`."""
        return isinstance(loaded, faiss.IndexFlat) and loaded.codes.size() == 4 * loaded.d * loaded.ntotal

    def metrics(self) -> dict[str, int]:
        """See `FaissIndex.metrics`."""
        return {"index": self._built.metric_type}

    @property
    def is_exact(self) -> bool:
        """See `Index.is_exact`."""
        return True

    @property
    def factory(self) -> str:
        """See `Index.factory`."""
        return "IDMap2,Flat"
