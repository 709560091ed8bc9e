"""Every item that training knows is a candidate, each exactly once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.facts import Facts
from twotower.config.spec import PositiveInt
from twotower.negatives.sampler import NegativeSampler


class Catalogue(NegativeSampler):
    """The whole catalogue: the softmax is exact and q is 1."""

    class Config(NegativeSampler.Config):
        """How large a catalogue may be."""

        max_items: PositiveInt = 50_000
        """A larger catalogue is refused, since every step embeds and scores all of it."""

        def problems(self, facts: Facts) -> Iterator[tuple[str, str]]:
            """Refuse a larger catalogue."""
            if facts.num_items is not None and facts.num_items > self.max_items:
                yield (
                    "",
                    f"scores all {facts.num_items:,} items at every step, more than max_items = "
                    f"{self.max_items:,}; use negatives=mixed or negatives=uniform, or raise "
                    "negatives.max_items",
                )

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all rows that training knows, each drawn once."""
        return self.trained_rows, torch.ones_like(self.trained_rows)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return zeros: every item is certain to be there."""
        return torch.zeros(len(rows), device=rows.device)
