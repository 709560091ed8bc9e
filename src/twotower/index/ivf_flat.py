"""Cells of whole vectors."""

from typing import Any

import faiss

from twotower.config.spec import PositiveInt
from twotower.index.index import Recall
from twotower.index.ivf import IVF


class IVFFlat(IVF):
    """Visits a few cells and scores their items exactly; exact as a whole when nprobe = nlist.

    Args: see `IVF`.
    """

    kind = "ivf_flat"
    faiss_type = faiss.IndexIVFFlat

    def __init__(
        self,
        *,
        nlist: PositiveInt | None = None,
        nprobe: PositiveInt | None = None,
        target_recall: Recall = 0.995,
        min_recall: Recall = 0.95,
    ) -> None:
        super().__init__(nlist=nlist, nprobe=nprobe, target_recall=target_recall, min_recall=min_recall)

    def create_cells(self, quantiser: Any, dim: int, nlist: int) -> Any:
        """See `IVF.create_cells`."""
        return faiss.IndexIVFFlat(quantiser, dim, nlist, faiss.METRIC_INNER_PRODUCT)

    def code_size(self, loaded: Any) -> int:
        """See `IVF.code_size`."""
        return int(4 * loaded.d)

    @property
    def is_exact(self) -> bool:
        """See `IVF.is_exact`."""
        return self.search_args["nprobe"] == self.build_args["nlist"]

    @property
    def factory(self) -> str:
        """See `Index.factory`."""
        return f"IVF{self.build_args['nlist']},Flat"
