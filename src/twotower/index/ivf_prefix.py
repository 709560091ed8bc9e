"""Inverted file index of the first dimensions of vectors, whose best items are scored again."""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from twotower.config.spec import PositiveInt
from twotower.index.half_precision import half_precision_cells
from twotower.index.refined_ivf import RefinedIVF


class IVFPrefix(RefinedIVF):
    """The first `prefix_dim` dimensions, in half precision, in cells; the best items are scored with all.

    For towers whose first dimensions say most (`loss=matryoshka`).

    Reference: Kusupati et al., "Matryoshka representation learning", NeurIPS 2022, section 4.3.
    """

    class Config(RefinedIVF.Config):
        prefix_dim: PositiveInt | None = None
        """Number of dimensions that are searched; None = half of them."""

        def problems(
            self, embedding_dim: int | None = None, num_items: int | None = None
        ) -> Iterator[tuple[str, str]]:
            yield from super().problems(embedding_dim, num_items)
            if embedding_dim and self.prefix_dim and self.prefix_dim >= embedding_dim:
                fewer = f"choose fewer than the {embedding_dim} dimensions of the vectors, or index=ivf_sq"
                yield "prefix_dim", f"{self.prefix_dim}: {fewer}"

    config: Config
    kind = "ivf_prefix"

    def create_codes(self, dim: int, num_vectors: int) -> Any:
        prefix = self.config.prefix_dim or max(1, dim // 2)
        cells = super().create_codes(prefix, num_vectors)
        first: Any = faiss.RemapDimensionsTransform
        return faiss.IndexPreTransform(first(dim, prefix, False), cells)

    def create_cells(self, quantizer: Any, dim: int, nlist: int) -> Any:
        return half_precision_cells(quantizer, dim, nlist)

    def fits(self, inner: Any) -> bool:
        """See `Index.fits`; also checks the selection of dimensions."""
        chain = getattr(faiss.downcast_index(inner.base_index), "chain", None)
        first: Any = faiss.downcast_VectorTransform(chain.at(0)) if chain and chain.size() == 1 else None
        fits = isinstance(first, faiss.RemapDimensionsTransform) and first.d_in == inner.d
        fits = fits and np.array_equal(faiss.vector_to_array(first.map), np.arange(first.d_out))
        return bool(fits and first.d_out == self.searched(inner).d and super().fits(inner))
