"""Exact search over all vectors."""

from typing import Any

import faiss

from twotower.index.index import Index, RecallTarget


class FlatIP(Index):
    """Stores all vectors in full precision. Exact, and fast enough up to about a million items."""

    class Config(Index.Config):
        """Settings of exact search; it has no search arguments to tune."""

        target_recall: RecallTarget = 1.0
        """recall@100 against exact search; an exact index has 1."""
        min_recall: RecallTarget = 1.0

    kind = "flat_ip"
    faiss_type = faiss.IndexFlatIP
    is_exact = True

    def create(self, dim: int, num_vectors: int) -> Any:
        return faiss.IndexFlatIP(dim)

    def is_compatible(self, inner: Any) -> bool:
        return bool(inner.codes.size() == 4 * inner.d * inner.ntotal)
