"""All trained items as negatives."""

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.data.sources.source import Source
from twotower.model.negatives.sampler import ImpressionsAs, NegativeSampler


class Catalogue(NegativeSampler):
    """All trained items, each once: the softmax is exact, and q is 1."""

    class Config(NegativeSampler.Config):
        max_items: PositiveInt = 50_000
        """Larger catalogues are refused, since every step embeds and scores all items."""

        def problems(
            self,
            data: Source.Config | None = None,
            num_items: int | None = None,
            impressions_as: ImpressionsAs | None = None,
        ) -> Iterator[tuple[str, str]]:
            """Refuse a larger catalogue."""
            if num_items is not None and num_items > self.max_items:
                message = (
                    f"scores all {num_items:,} items at every step, more than max_items = {self.max_items:,};"
                    " use negatives=mixed or negatives=uniform, or raise negatives.max_items"
                )
                yield "", message

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all trained rows, each with one draw."""
        return self.trained_rows, torch.ones_like(self.trained_rows)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return zeros: every item is included with certainty."""
        return torch.zeros(len(rows), device=rows.device)
