"""An item bias that starts from how popular the item was of late."""

import numpy as np
import torch
from torch import Tensor, nn

from twotower.data.history import History
from twotower.spec import PositiveFloat
from twotower.towers.item_bias.item_bias import ItemBias

SECONDS_A_DAY = 86_400.0


class RecentPopularity(ItemBias):
    """A learned bias that starts at log(1 + popularity), centred, where old interactions count for less.

    New and unknown items have bias 0, the catalogue's mean. A tower that scores by the softmax learns
    popularity anyway, slowly and inside its embeddings; told from the start, it can spend them on taste.

    Args:
        num_items: N.
        half_life_days: an interaction this much older than the newest one counts half.

    Reference: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE
    Computer 2009, "Adding biases".
    """

    def __init__(self, num_items: int, *, half_life_days: PositiveFloat = 7.0) -> None:
        super().__init__(num_items)
        self.half_life_days = half_life_days
        self.biases = nn.Parameter(torch.zeros(num_items))

    @property
    def width(self) -> int:
        """One column."""
        return 1

    def initialise(self, log: History) -> None:
        """Count the log, newest interactions most."""
        times, items = np.asarray(log.times), np.asarray(log.items)
        weights = 0.5 ** ((times.max() - times) / SECONDS_A_DAY / self.half_life_days)
        popularity = np.log1p(np.bincount(items, weights=weights, minlength=self.num_items + 1)[1:])
        with torch.no_grad():
            self.biases.copy_(torch.from_numpy(popularity - popularity.mean()))

    def forward(self, rows: Tensor) -> Tensor:
        """Return biases [B, 1]."""
        known = (rows > 0) & (rows <= self.num_items)
        found = self.biases.index_select(0, torch.where(known, rows - 1, 0))
        return torch.where(known, found, 0.0)[:, None]
