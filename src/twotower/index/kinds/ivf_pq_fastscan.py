"""Inverted file index with product quantization of 4 bits, whose tables fit into registers."""

from collections.abc import Iterator
from typing import Any

import faiss

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.index.centroids import set_clustering
from twotower.index.kinds.ivf_pq import indivisible
from twotower.index.kinds.refined_ivf import RefinedIVF

NUM_BITS = 4


class IVFPQFastScan(RefinedIVF):
    """Codes of 4 bits per subvector of the difference from the centroid, scanned 32 at a time.

    The best items are scored again.

    Reference: Andre et al., "Cache locality is not enough: high-performance nearest neighbor search with
        product quantization fast scan", VLDB 2015.
    """

    class Config(RefinedIVF.Config):
        num_subquantizers: PositiveInt | None = None
        """Number of subvectors (m), which must divide the embedding dimension; None = one per dimension."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            embedding_dim, num_items = context.get("embedding_dim"), context.num_items
            yield from super().problems(context)
            if embedding_dim and self.num_subquantizers and embedding_dim % self.num_subquantizers:
                yield "num_subquantizers", indivisible(embedding_dim, self.num_subquantizers)
            if num_items is not None and num_items < 2**NUM_BITS:
                yield "", f"needs {2**NUM_BITS} vectors to train on, of {num_items}: choose index=flat_ip"

        @property
        def min_items(self) -> int:
            return int(max(super().min_items, 2**NUM_BITS))

    config: Config
    kind = "ivf_pq_fastscan"

    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        parts = self.config.num_subquantizers or dim
        created = faiss.IndexIVFPQFastScan(quantizer, dim, nlist, parts, NUM_BITS, faiss.METRIC_INNER_PRODUCT)
        created.by_residual = True  # choosing the lists has computed the dot products with centroids
        set_clustering(created.pq.cp, self.training_iterations)
        return created
