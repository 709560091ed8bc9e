"""Inverted file index of vectors in full precision."""

from typing import Any

import faiss

from twotower.index.kinds.ivf import IVF


class IVFFlat(IVF):
    """Visits `nprobe` lists and scores their items exactly; exact search if nprobe = nlist."""

    kind = "ivf_flat"
    faiss_type = faiss.IndexIVFFlat

    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        return faiss.IndexIVFFlat(quantizer, dim, nlist, faiss.METRIC_INNER_PRODUCT)

    @property
    def is_exact(self) -> bool:
        """Whether all lists are visited."""
        return self.search_args["nprobe"] == self.largest_search_arg
