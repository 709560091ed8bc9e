"""The usual rule for which index a catalogue of some size gets."""

from typing import Any

from twotower.config.spec import PositiveInt
from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index, RecallTarget
from twotower.index.ivf_flat import IVFFlat
from twotower.index.ivf_pq import IVFPQ


class Auto(Index):
    """Exact search for small catalogues, whole vectors in cells for large ones, codes for very large ones.

    A choice between kinds, and none itself: whatever is built and stored is the kind that `for_size` gives.
    """

    class Config(Index.Config):
        """From which size of the catalogue which kind is taken."""

        ivf_flat_from: PositiveInt = 1_000_000
        """Number of items from which IVFFlat replaces FlatIP."""
        ivf_pq_from: PositiveInt = 10_000_000
        """Number of items from which IVFPQ replaces IVFFlat."""
        min_recall: RecallTarget = 0.8

        def problems(
            self, embedding_dim: int | None = None, num_items: int | None = None
        ) -> list[tuple[str, str]]:
            """See `Index.Config.problems`; those of the kind that is chosen, once the size is known."""
            if self.ivf_flat_from > self.ivf_pq_from:
                below = f"{self.ivf_pq_from} is below ivf_flat_from {self.ivf_flat_from}"
                return [("ivf_pq_from", f"{below}: thresholds must ascend")]
            return self.for_size(num_items or 0).problems(embedding_dim, num_items)

        def for_size(self, num_items: int) -> Index.Config:
            """See `Index.Config.for_size`."""
            chosen: type[Index] = IVFPQ
            if num_items < self.ivf_pq_from:
                chosen = IVFFlat
            if num_items < self.ivf_flat_from:
                chosen = FlatIP
            recalls = {"target_recall": self.target_recall, "min_recall": self.min_recall}
            return chosen.Config.model_validate(recalls).for_size(num_items)

    kind = "auto"

    def create(self, dim: int, num_vectors: int) -> Any:
        """Nothing to create: `Config.for_size` comes first."""
        raise TypeError("auto is a choice between kinds: build what its Config.for_size gives")
