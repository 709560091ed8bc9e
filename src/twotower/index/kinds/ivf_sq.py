"""Inverted file index of vectors in half precision."""

from typing import Any

import faiss
import numpy as np

from twotower.index.half_precision import HALF_PRECISION, LARGEST_FLOAT16, check_half_precision
from twotower.index.kinds.ivf import IVF


class IVFSQ(IVF):
    """`IVFFlat` with 16-bit floats: half the memory, faster, almost the same recall."""

    kind = "ivf_sq"
    score_tolerance = 1e-3
    faiss_type = faiss.IndexIVFScalarQuantizer

    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        metric = faiss.METRIC_INNER_PRODUCT
        return faiss.IndexIVFScalarQuantizer(quantizer, dim, nlist, HALF_PRECISION, metric)

    def check_range(self, vectors: np.ndarray) -> None:
        """See `Index.check_range`; differences to centroids are stored, which can be twice as large."""
        check_half_precision(vectors, LARGEST_FLOAT16 / 2)
