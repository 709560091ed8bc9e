"""Every item that training knows is a candidate, each exactly once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.data.sources.source import Source
from twotower.negatives.sampler import ImpressionsAs, NegativeSampler


class Catalogue(NegativeSampler):
    """The whole catalogue: the softmax is exact and q is 1."""

    class Config(NegativeSampler.Config):
        """How large a catalogue may be."""

        max_items: PositiveInt = 50_000
        """A larger catalogue is refused, since every step embeds and scores all of it."""

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse a larger catalogue."""
            if num_items is not None and num_items > self.max_items:
                yield (
                    "",
                    f"scores all {num_items:,} items at every step, more than max_items = "
                    f"{self.max_items:,}; use negatives=mixed or negatives=uniform, or raise "
                    "negatives.max_items",
                )

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all rows that training knows, each drawn once."""
        return self.trained_rows, torch.ones_like(self.trained_rows)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return zeros: every item is certain to be there."""
        return torch.zeros(len(rows), device=rows.device)
