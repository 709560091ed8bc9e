"""Every item that training knows is a candidate, each exactly once."""

import torch
from torch import Tensor

from twotower.config.spec import PositiveInt
from twotower.negatives.negatives import Negatives


class Catalogue(Negatives):
    """The whole catalogue: the softmax is exact and q is 1.

    Args:
        frequencies: see `Negatives`.
        max_items: a larger catalogue is refused, since every step embeds and scores all of it.
    """

    MAX_ITEMS = 50_000

    def __init__(self, frequencies: Tensor, *, max_items: PositiveInt = MAX_ITEMS) -> None:
        super().__init__(frequencies)
        self.max_items = max_items

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return all rows that training knows, each drawn once."""
        return self.trained_rows, torch.ones_like(self.trained_rows)

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return zeros: every item is certain to be there."""
        return torch.zeros(len(rows), device=rows.device)
