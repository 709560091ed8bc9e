"""Exact search: every query meets every vector."""

from typing import Any

import faiss

from twotower.index.index import Index, RecallTarget


class FlatIP(Index):
    """All vectors as they are; exact, and fast enough to about a million items."""

    class Config(Index.Config):
        """Settings of exact search, which tuning has nothing to choose of."""

        target_recall: RecallTarget = 1.0
        min_recall: RecallTarget = 1.0

    kind = "flat_ip"
    faiss_type = faiss.IndexFlatIP
    is_exact = True

    def create(self, dim: int, num_vectors: int) -> Any:
        """See `Index.create`."""
        return faiss.IndexFlatIP(dim)

    def fits(self, own: Any) -> bool:
        """See `Index.fits`."""
        return bool(own.codes.size() == 4 * own.d * own.ntotal)
