"""Graphs of neighbors with vectors in half precision."""

from typing import Any

import faiss
import numpy as np

from twotower.index.half_precision import HALF_PRECISION, check_half_precision
from twotower.index.kinds.hnsw import HNSW


class HNSWSQ(HNSW):
    """`HNSW` with 16-bit floats: half the memory for vectors, almost the same recall."""

    kind = "hnsw_sq"
    score_tolerance = 1e-3
    faiss_type = faiss.IndexHNSWSQ

    def create_graph(self, dim: int) -> Any:
        return faiss.IndexHNSWSQ(dim, HALF_PRECISION, self.config.links, faiss.METRIC_INNER_PRODUCT)

    def check_range(self, vectors: np.ndarray) -> None:
        check_half_precision(vectors)
