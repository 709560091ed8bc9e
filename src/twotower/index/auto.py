"""An index chosen by the number of items."""

from collections.abc import Iterator
from typing import Any

from twotower.config.spec import PositiveInt
from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index, RecallTarget
from twotower.index.ivf_flat import IVFFlat
from twotower.index.ivf_pq import IVFPQ


class Auto(Index):
    """Exact search for small catalogues, whole vectors in cells for large ones, codes for very large ones.

    `Config.for_size` returns the settings of the chosen class, which is built and stored.
    """

    class Config(Index.Config):
        """Catalogue sizes from which each index is used."""

        ivf_flat_from: PositiveInt = 1_000_000
        """Number of items from which IVFFlat replaces FlatIP."""
        ivf_pq_from: PositiveInt = 10_000_000
        """Number of items from which IVFPQ replaces IVFFlat."""
        min_recall: RecallTarget = 0.8
        """recall@100 below which the index is rejected."""

        def problems(
            self, embedding_dim: int | None = None, num_items: int | None = None
        ) -> Iterator[tuple[str, str]]:
            """See `Index.Config.problems`; checks the chosen class."""
            if self.ivf_flat_from > self.ivf_pq_from:
                below = f"{self.ivf_pq_from} is below ivf_flat_from {self.ivf_flat_from}"
                yield "ivf_pq_from", f"{below}: thresholds must ascend"
            else:
                yield from self.for_size(num_items or 0).problems(embedding_dim, num_items)

        def for_size(self, num_items: int) -> Index.Config:
            """See `Index.Config.for_size`."""
            chosen: type[Index] = FlatIP
            if num_items >= self.ivf_flat_from:
                chosen = IVFFlat if num_items < self.ivf_pq_from else IVFPQ
            recalls = {"target_recall": self.target_recall, "min_recall": self.min_recall}
            return chosen.Config.model_validate(recalls).for_size(num_items)

    kind = "auto"

    def create(self, dim: int, num_vectors: int) -> Any:
        """Raise TypeError: build the result of `Config.for_size` instead."""
        raise TypeError("Auto cannot be built; build the result of its Config.for_size")
