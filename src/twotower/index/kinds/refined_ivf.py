"""Base class of inverted files of short codes whose best items are scored again."""

from typing import Any

import faiss
import numpy as np

from twotower.config.spec import PositiveInt
from twotower.index.half_precision import HALF_PRECISION, check_half_precision
from twotower.index.index import RecallTarget
from twotower.index.kinds.ivf import IVF


class RefinedIVF(IVF):
    """Codes find `num_candidates` items per result, whose scores are computed from 16-bit vectors.

    A search reads few bytes per item; it needs the memory of `ivf_sq` and the codes. Removed items stay as
    tombstones until the next build.
    """

    class Config(IVF.Config):
        num_candidates: PositiveInt = 8
        """Items that are scored again, per result (k_factor)."""
        target_recall: RecallTarget = 0.98
        """See `Index.Config`; if it cannot be reached, tuning chooses the best recall."""
        min_recall: RecallTarget = 0.9

    config: Config
    score_tolerance = 1e-3
    faiss_type = faiss.IndexRefine

    def create(self, dim: int, num_vectors: int) -> Any:
        vectors = faiss.IndexScalarQuantizer(dim, HALF_PRECISION, faiss.METRIC_INNER_PRODUCT)
        created = faiss.IndexRefine(super().create(dim, num_vectors), vectors)
        created.k_factor = self.config.num_candidates
        return created

    def is_compatible(self, inner: Any) -> bool:
        """See `Index.is_compatible`; also checks the vectors of the refinement."""
        vectors: Any = faiss.downcast_index(inner.refine_index)
        return bool(
            isinstance(vectors, faiss.IndexScalarQuantizer)
            and vectors.sq.qtype == HALF_PRECISION
            and vectors.codes.size() == 2 * inner.d * inner.ntotal
            and self.search_target(inner).ntotal == inner.ntotal
            and super().is_compatible(inner)
        )

    def check_range(self, vectors: np.ndarray) -> None:
        check_half_precision(vectors)

    @property
    def build_args(self) -> dict[str, int]:
        return super().build_args | {"num_candidates": int(self._faiss_index.inner.k_factor)}
