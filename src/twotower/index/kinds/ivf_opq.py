"""Inverted file index with a rotation before product quantization."""

from typing import Any

import faiss
import numpy as np

from twotower.index.centroids import set_clustering
from twotower.index.kinds.ivf_pq import IVFPQ


class IVFOPQ(IVFPQ):
    """`IVFPQ` of rotated vectors; the rotation is learned so that codes lose less. Training takes longer.

    Dot products do not change by a rotation of queries and items.

    Reference: Ge et al., "Optimized product quantization", TPAMI 2014, section 3.2.
    """

    kind = "ivf_opq"
    faiss_type = faiss.IndexPreTransform

    def create(self, dim: int, num_vectors: int) -> Any:
        ivf = super().create(dim, num_vectors)
        rotation = faiss.OPQMatrix(dim, self.config.num_subquantizers)
        if self.training_iterations is not None:
            rotation.niter = rotation.niter_pq = rotation.niter_pq_0 = self.training_iterations
        return faiss.IndexPreTransform(rotation, ivf)

    def train(self, inner: Any, vectors: np.ndarray) -> None:
        """See `Index.train`; the rotation is learned for codes of this size."""
        rotation: Any = faiss.downcast_VectorTransform(inner.chain.at(0))
        codes = faiss.ProductQuantizer(inner.d, self.config.num_subquantizers, self.config.num_bits)
        set_clustering(codes.cp, None)
        rotation.pq = codes
        super().train(inner, vectors)
        rotation.pq = None

    def is_compatible(self, inner: Any) -> bool:
        """See `Index.is_compatible`; also checks the rotation."""
        if inner.chain.size() != 1:
            return False
        rotation: Any = faiss.downcast_VectorTransform(inner.chain.at(0))
        size = rotation.d_in * rotation.d_out
        is_rotation = isinstance(rotation, faiss.LinearTransform) and not rotation.have_bias
        is_rotation = is_rotation and rotation.d_in == rotation.d_out == inner.d and rotation.A.size() == size
        return bool(is_rotation and super().is_compatible(inner))
