"""Cells of product-quantised vectors."""

from typing import Annotated, Any

import faiss
from annotated_types import Ge, Le

from twotower.config.spec import PositiveInt
from twotower.index.index import Recall
from twotower.index.ivf import IVF, automatic_nlist


class IVFPQ(IVF):
    """Each vector becomes `num_subquantizers` codes of `num_bits`: the least memory, at some loss of recall.

    Args:
        num_subquantizers: m, the parts a vector is cut into; must divide the embedding dimension.
        num_bits: bits a code has; 2**num_bits centroids are trained for each part.
        nlist: see `IVF`.
        nprobe: see `IVF`.
        target_recall: see `IVF`; where the codes cannot reach it, tuning settles for their best.
        min_recall: see `IVF`.

    Reference: Jegou et al., "Product quantization for nearest neighbor search", TPAMI 2011, section III.
    """

    kind = "ivf_pq"
    faiss_type = faiss.IndexIVFPQ

    def __init__(
        self,
        *,
        num_subquantizers: PositiveInt = 32,
        num_bits: Annotated[int, Ge(4), Le(12)] = 8,
        nlist: PositiveInt | None = None,
        nprobe: PositiveInt | None = None,
        target_recall: Recall = 0.95,
        min_recall: Recall = 0.8,
    ) -> None:
        super().__init__(nlist=nlist, nprobe=nprobe, target_recall=target_recall, min_recall=min_recall)
        self.num_subquantizers = num_subquantizers
        self.num_bits = num_bits

    def arguments(self) -> dict[str, Any]:
        """See `FaissIndex.arguments`."""
        own = {"num_subquantizers": self.num_subquantizers, "num_bits": self.num_bits}
        return {**own, **super().arguments()}

    def problems(self, dim: int | None, num_vectors: int | None) -> list[tuple[str, str]]:
        """See `Index.problems`."""
        found = super().problems(dim, num_vectors)
        parts = self.num_subquantizers
        if dim is not None and dim % parts:
            near = " or ".join(str(divisor) for divisor in nearest_divisors(dim, parts))
            found.append(
                ("num_subquantizers", f"{parts} does not divide the embedding dimension {dim}: choose {near}")
            )
        if num_vectors is not None and 2**self.num_bits > num_vectors:
            message = (
                f"2**{self.num_bits} centroids a part are more than the {num_vectors} vectors to train on"
            )
            advice = f"choose at most {num_vectors.bit_length() - 1}"
            if num_vectors < 2**4:
                advice = "choose index=flat_ip"
            found.append(("num_bits", f"{message}: {advice}"))
        return found

    @property
    def min_training_vectors(self) -> int:
        """See `Index.min_training_vectors`."""
        return int(max(super().min_training_vectors, 2**self.num_bits))

    def create_cells(self, quantiser: Any, dim: int, nlist: int) -> Any:
        """See `IVF.create_cells`; factory strings would add a minute of polysemous training."""
        parts, bits = self.num_subquantizers, self.num_bits
        created = faiss.IndexIVFPQ(quantiser, dim, nlist, parts, bits, faiss.METRIC_INNER_PRODUCT)
        self.set_clustering(created.pq.cp)
        return created

    def largest_part(self, file_bytes: int) -> int:
        """See `FaissIndex.largest_part`: Faiss counts a table of all cells and codes too."""
        cells = self.nlist or automatic_nlist(file_bytes)  # no vector takes less than a byte
        return max(file_bytes, 8 * cells * self.num_subquantizers << self.num_bits)

    def code_size(self, loaded: Any) -> int:
        """See `IVF.code_size`; -1, which none is, where the centroids are not those of such codes."""
        quantiser = loaded.pq
        fits = quantiser.d == loaded.d == quantiser.M * quantiser.dsub and 1 <= quantiser.nbits <= 12
        fits = fits and quantiser.centroids.size() == quantiser.d << quantiser.nbits
        return int((quantiser.M * quantiser.nbits + 7) // 8) if fits else -1

    @property
    def build_args(self) -> dict[str, int]:
        """See `Index.build_args`."""
        return {
            **super().build_args,
            "num_subquantizers": int(self._built.pq.M),
            "num_bits": int(self._built.pq.nbits),
        }

    @property
    def factory(self) -> str:
        """See `Index.factory`."""
        args = self.build_args
        return f"IVF{args['nlist']},PQ{args['num_subquantizers']}x{args['num_bits']}np"


def nearest_divisors(number: int, near: int) -> list[int]:
    """Return the largest divisor of a number up to `near` and the smallest above it, where there are such."""
    divisors = [divisor for divisor in range(1, number + 1) if number % divisor == 0]
    below = [divisor for divisor in divisors if divisor <= near][-1:]
    above = [divisor for divisor in divisors if divisor > near][:1]
    return below + above
