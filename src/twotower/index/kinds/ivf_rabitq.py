"""Inverted file index with randomized binary quantization."""

from collections.abc import Iterator
from typing import Annotated, Any

import faiss
from annotated_types import Ge, Le

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.index.kinds.refined_ivf import RefinedIVF

ONE_BIT_FROM = 256
"""Dimension from which codes of fewer than `MANY_BITS` bits find most items."""
MANY_BITS = 4


class IVFRaBitQ(RefinedIVF):
    """Codes of `num_bits` bits per dimension that need no training; their best items are scored again.

    Reference: Gao and Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for
        approximate nearest neighbor search", SIGMOD 2024; Gao et al., SIGMOD 2025 (more bits).
    """

    class Config(RefinedIVF.Config):
        num_bits: Annotated[int, Ge(1), Le(9)] = 4
        """Bits per dimension; fewer than 4 from 256 dimensions only."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            embedding_dim = context.get("embedding_dim")
            yield from super().problems(context)
            if embedding_dim is not None and self.num_bits < MANY_BITS and embedding_dim < ONE_BIT_FROM:
                message = f"{self.num_bits} bits per dimension are too few for {embedding_dim} dimensions"
                yield "num_bits", f"{message}: choose at least {MANY_BITS}, or use {ONE_BIT_FROM} dimensions"

    config: Config
    kind = "ivf_rabitq"

    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        return faiss.IndexIVFRaBitQ(
            quantizer, dim, nlist, faiss.METRIC_INNER_PRODUCT, True, self.config.num_bits
        )
