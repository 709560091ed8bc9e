"""Inverted file index of vectors in half precision."""

from typing import Any

import faiss
import numpy as np

from twotower.config.errors import InputError
from twotower.index.ivf import IVF

LARGEST_FLOAT16 = 65504.0


class IVFSQ(IVF):
    """`IVFFlat` with 16-bit floats: half the memory, faster, almost the same recall."""

    kind = "ivf_sq"
    score_tolerance = 1e-3
    faiss_type = faiss.IndexIVFScalarQuantizer

    def create_cells(self, quantizer: Any, dim: int, nlist: int) -> Any:
        """See `IVF.create_cells`."""
        codes = faiss.ScalarQuantizer.QT_fp16
        return faiss.IndexIVFScalarQuantizer(quantizer, dim, nlist, codes, faiss.METRIC_INNER_PRODUCT)

    def code_size(self, inner: Any) -> int:
        """See `IVF.code_size`."""
        return int(2 * inner.d) if inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else -1

    def check_range(self, vectors: np.ndarray) -> None:
        """See `Index.check_range`: half precision ends at 65504, and differences to centroids are stored."""
        largest = max(float(vectors.max(initial=0.0)), -float(vectors.min(initial=0.0)))  # without a copy
        if 2 * largest > LARGEST_FLOAT16:
            raise InputError(
                f"item vectors: value {largest:.6g} is beyond half precision ({LARGEST_FLOAT16 / 2:.0f}, "
                "because differences are stored); normalize the towers' output or choose index=ivf_flat"
            )
