"""An item bias that starts from how popular the item was of late."""

import numpy as np
import torch
from torch import Tensor, nn

from twotower.config.spec import Fraction, PositiveFloat
from twotower.data.history import History
from twotower.towers.item_bias.item_bias import ItemBias

SECONDS_A_DAY = 86_400.0


class RecentPopularity(ItemBias):
    """A learned bias that starts at log(1 + popularity), centred, where old interactions count for less.

    The softmax teaches popularity anyway, slowly and inside the embeddings; told from the start, they are
    free for taste. A new item has no popularity yet: it is given a quantile of the others' biases, high
    enough to be shown where its content fits.

    Reference: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE
    Computer 2009, "Adding biases".
    """

    class Config(ItemBias.Config):
        """What counts as recent, and what a new item starts with."""

        half_life_days: PositiveFloat = 7.0
        """An interaction this much older than the newest one counts half."""
        new_item_quantile: Fraction = 0.9
        """Of the biases of items with interactions, which new ones are given when they are ranked; training
        never sees one."""

    config: Config
    sold: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config, num_items)
        self.biases = nn.Parameter(torch.zeros(num_items))
        self.register_buffer("sold", torch.ones(num_items, dtype=torch.bool))

    def initialise(self, log: History) -> None:
        """Count the log, newest interactions most."""
        times, items = np.asarray(log.positives.times), np.asarray(log.positives.items)
        weights = 0.5 ** ((times.max() - times) / SECONDS_A_DAY / self.config.half_life_days)
        popularity = np.log1p(np.bincount(items, weights=weights, minlength=self.num_items + 1)[1:])
        with torch.no_grad():
            self.biases.copy_(torch.from_numpy(popularity - popularity.mean()))
            self.sold.copy_(torch.from_numpy(np.bincount(items, minlength=self.num_items + 1)[1:] > 0))

    def forward(self, rows: Tensor) -> Tensor:
        """Return biases [B, 1]."""
        known = (rows > 0) & (rows <= self.num_items)
        places = torch.where(known, rows - 1, 0)
        found = self.biases.index_select(0, places)
        if self.training:
            return torch.where(known, found, 0.0)[:, None]
        of_new = torch.quantile(self.biases[self.sold], self.config.new_item_quantile)
        return torch.where(known & self.sold[places], found, of_new)[:, None]
