"""Items drawn uniformly from the catalogue."""

import torch
from torch import Tensor

from twotower.negatives.negatives import Negatives, distinct
from twotower.spec import PositiveInt


class Uniform(Negatives):
    """`num_negatives` draws a batch with replacement, shared by all its positives; q = 1 / items.

    Args:
        frequencies: see `Negatives`.
        num_negatives: draws a batch.
    """

    def __init__(self, frequencies: Tensor, *, num_negatives: PositiveInt = 1024) -> None:
        super().__init__(frequencies)
        self.num_negatives = num_negatives

    def draw(self, positives: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw with replacement."""
        rows = torch.randint(1, self.num_items + 1, (self.num_negatives,), generator=generator)
        return distinct(rows.to(positives.device))

    def log_q(self, rows: Tensor, num_positives: int) -> Tensor:
        """Return log(1 / items) for every row."""
        return -torch.full((len(rows),), float(self.num_items), device=rows.device).log()
