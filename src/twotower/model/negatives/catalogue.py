"""All trained items as negatives."""

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveInt
from twotower.model.negatives.sampler import NegativeSampler


class Catalogue(NegativeSampler):
    """All trained items, each once: the softmax is exact, and q is 1."""

    class Config(NegativeSampler.Config):
        max_items: PositiveInt = 50_000
        """Larger catalogues are refused, since every step embeds and scores all items."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse a larger catalogue."""
            num_items = context.num_items
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
