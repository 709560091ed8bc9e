"""Inverted file index with product quantization."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import faiss
from annotated_types import Ge, Le

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.index.centroids import set_clustering
from twotower.index.index import RecallTarget
from twotower.index.kinds.ivf import IVF


class IVFPQ(IVF):
    """Each vector is stored as `num_subquantizers` codes of `num_bits` bits: least memory, lower recall.

    Reference: Jegou et al., "Product quantization for nearest neighbor search", TPAMI 2011, section III.
    """

    class Config(IVF.Config):
        num_subquantizers: PositiveInt = 32
        """Number of subvectors (m); must divide the embedding dimension."""
        num_bits: Annotated[int, Ge(4), Le(12)] = 8
        """Bits per code; each subvector has 2**num_bits centroids."""
        target_recall: RecallTarget = 0.95
        """See `Index.Config`; if it cannot be reached, tuning chooses the best recall."""
        min_recall: RecallTarget = 0.8

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            yield from super().problems(context)
            parts, dim = self.num_subquantizers, context.get("embedding_dim")
            num_items = context.num_items
            if dim is not None and dim % parts:
                yield "num_subquantizers", indivisible(dim, parts)
            if num_items is not None and 2**self.num_bits > num_items:
                bits = f"at most {num_items.bit_length() - 1}" if num_items >= 2**4 else "index=flat_ip"
                message = f"2**{self.num_bits} centroids a part are more than the {num_items} vectors"
                yield "num_bits", f"{message} to train on: choose {bits}"

        @property
        def min_items(self) -> int:
            return int(max(super().min_items, 2**self.num_bits))

    config: Config
    kind = "ivf_pq"
    score_tolerance = 0.1
    faiss_type: ClassVar[type] = faiss.IndexIVFPQ

    def create_ivf(self, quantizer: Any, dim: int, nlist: int) -> Any:
        """See `IVF.create_ivf`; without polysemous training, which factory strings add."""
        parts, bits = self.config.num_subquantizers, self.config.num_bits
        created = faiss.IndexIVFPQ(quantizer, dim, nlist, parts, bits, faiss.METRIC_INNER_PRODUCT)
        set_clustering(created.pq.cp, self.training_iterations)
        return created

    @property
    def build_args(self) -> dict[str, int]:
        codes = self.search_target(self._faiss_index.inner).pq
        return super().build_args | {"num_subquantizers": int(codes.M), "num_bits": int(codes.nbits)}

    @property
    def factory(self) -> str:
        """See `Index.factory`; without polysemous training."""
        return f"{super().factory}np"


def indivisible(dim: int, parts: int) -> str:
    """Return a message for a number of subvectors that does not divide the dimension."""
    divisors = [number for number in range(1, dim + 1) if dim % number == 0]
    near = sorted(sorted(divisors, key=lambda number: abs(number - parts))[:2])
    choices = " or ".join(map(str, near))
    return f"{parts} does not divide the embedding dimension {dim}: choose {choices}"
