"""An item bias that starts from how popular the item is."""

import numpy as np
import torch
from torch import Tensor, nn

from twotower.config.spec import Fraction
from twotower.data.interactions import Interactions
from twotower.towers.item_bias.item_bias import ItemBias


class Popularity(ItemBias):
    """A learned bias that starts at log(1 + popularity), centered.

    The softmax teaches popularity anyway, slowly and inside the embeddings; told from the start, they are
    free for taste. A new item has no popularity yet: it is given a quantile of the others' biases, high
    enough to be shown where its content fits. One that was shown, and in vain, is not new.

    Reference: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE
    Computer 2009, "Adding biases".
    """

    class Config(ItemBias.Config):
        """What a new item starts with."""

        new_item_quantile: Fraction = 0.9
        """Of the biases of items with interactions, which new ones are given when they are ranked; training
        never sees one."""
        sparse: bool = False
        """Give sparse gradients (for large catalogues); the optimizer must take them."""

        @property
        def gives_sparse_gradients(self) -> bool:
            """As set."""
            return self.sparse

    config: Config
    sold: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config, num_items)
        self.biases = nn.Parameter(torch.zeros(num_items))
        self.register_buffer("sold", torch.ones(num_items, dtype=torch.bool))

    def counted(self, interactions: Interactions) -> np.ndarray:
        """Return how much each interaction counts for its item, [n]."""
        return np.ones(len(interactions))

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Count the positive part of the log."""
        interactions = interactions.positives
        items = np.asarray(interactions.items)
        weights = self.counted(interactions)
        popularity = np.log1p(np.bincount(items, weights=weights, minlength=self.num_items + 1)[1:])
        with torch.no_grad():
            self.biases.copy_(torch.from_numpy(popularity - popularity.mean()))
            self.sold.copy_(torch.from_numpy(self._met(interactions)))

    def _met(self, interactions: Interactions) -> np.ndarray:
        """Return which items are wanted or shown in vain in a log, bool [N]."""
        parts = [
            interactions.positives.items,
            *([] if interactions.impressions is None else [interactions.impressions.items]),
        ]
        counts = np.bincount(np.concatenate(parts), minlength=self.num_items + 1)
        met: np.ndarray = counts[1:] > 0
        return met

    def warm_start(self, before: ItemBias, rows: Tensor, interactions: Interactions | None) -> None:
        """Take over the biases of items that were sold before; those first sold now start as new ones do."""
        assert isinstance(before, Popularity)
        super().warm_start(before, rows, interactions)
        was_sold = (rows > 0) & before.sold[(rows - 1).clamp(min=0)]
        is_sold = was_sold.clone()
        if interactions is not None:
            is_sold |= torch.from_numpy(self._met(interactions))
        with torch.no_grad():
            starts = before.of_new() if bool(before.sold.any()) else self.biases.new_zeros(())
            self.biases.copy_(torch.where((rows > 0) & (was_sold | ~is_sold), self.biases, starts))
            self.sold.copy_(is_sold)

    def of_new(self) -> Tensor:
        """Return what items without interactions are given when they are ranked."""
        return torch.quantile(self.biases[self.sold], self.config.new_item_quantile)

    def forward(self, rows: Tensor) -> Tensor:
        """Return biases [B, 1]."""
        known = (rows > 0) & (rows <= self.num_items)
        places = torch.where(known, rows - 1, 0)
        sparse = self.training and self.config.sparse
        found = (
            self.biases.gather(0, places, sparse_grad=True) if sparse else self.biases.index_select(0, places)
        )
        if self.training:
            return torch.where(known, found, 0.0)[:, None]
        return torch.where(known & self.sold[places], found, self.of_new())[:, None]
