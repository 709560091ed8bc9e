"""An item bias that starts from the popularity of the items."""

import numpy as np
import torch
from torch import Tensor, nn

from twotower.config.spec import Fraction
from twotower.data.interactions import Interactions
from twotower.model.towers.item_bias.item_bias import ItemBias


class Popularity(ItemBias):
    """A learned bias that starts at log(1 + popularity), centered.

    A softmax would learn popularity slowly, within the embeddings. A new item, without interactions and
    impressions, gets a quantile of the other biases.

    Reference: Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE
    Computer 2009, "Adding biases".
    """

    class Config(ItemBias.Config):
        new_item_quantile: Fraction = 0.9
        """Quantile of the biases of items with interactions that new items get in ranking; training has no
        new items."""
        sparse: bool = False
        """Sparse gradients, for large catalogues; the optimizer must support them."""

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether `sparse` is set."""
            return self.sparse

    config: Config
    has_occurred: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config, num_items)
        self.biases = nn.Parameter(torch.zeros(num_items))
        self.register_buffer("has_occurred", torch.ones(num_items, dtype=torch.bool))

    def count_weights(self, interactions: Interactions) -> np.ndarray:
        """Return the weight of each interaction in the counts, [n]."""
        return np.ones(len(interactions))

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Count the positives; see `ItemBias.initialize`."""
        positives = interactions.positives
        items = np.asarray(positives.items)
        weights = self.count_weights(positives)
        popularity = np.log1p(np.bincount(items, weights=weights, minlength=self.num_items + 1)[1:])
        with torch.no_grad():
            self.biases.copy_(torch.from_numpy((popularity - popularity.mean()) * temperature))
            self.has_occurred.copy_(self._occurring_items(interactions))

    def _occurring_items(self, interactions: Interactions) -> Tensor:
        """Return whether each item has an example or an impression, bool [N]."""
        parts = [interactions.examples.items]
        if interactions.impressions is not None:
            parts.append(interactions.impressions.items)
        return torch.from_numpy(np.bincount(np.concatenate(parts), minlength=self.num_items + 1)[1:] > 0)

    def warm_start(self, before: ItemBias, rows: Tensor, interactions: Interactions | None) -> None:
        """Copy the biases of known items; items whose first interaction is new start like new items."""
        assert isinstance(before, Popularity)
        super().warm_start(before, rows, interactions)
        had_occurred = (rows > 0) & before.has_occurred[(rows - 1).clamp(min=0)]
        has_occurred = had_occurred.clone()
        if interactions is not None:
            has_occurred |= self._occurring_items(interactions)
        with torch.no_grad():
            is_copied = (rows > 0) & (had_occurred | ~has_occurred)
            self.biases.copy_(torch.where(is_copied, self.biases, before.new_item_bias()))
            self.has_occurred.copy_(has_occurred)

    def new_item_bias(self) -> Tensor:
        """Return the bias of new items in ranking, a scalar; 0 if no item has occurred."""
        known = self.biases[self.has_occurred].numpy(force=True)
        quantile = np.quantile(known, self.config.new_item_quantile) if len(known) else 0.0
        return self.biases.new_tensor(quantile)

    def forward(self, rows: Tensor) -> Tensor:
        """Return biases [B, 1]."""
        known = (rows > 0) & (rows <= self.num_items)
        positions = torch.where(known, rows - 1, 0)
        if self.training and self.config.sparse:
            biases = self.biases.gather(0, positions, sparse_grad=True)
        else:
            biases = self.biases.index_select(0, positions)
        if self.training:
            return torch.where(known, biases, 0.0)[:, None]
        has_occurred = known & self.has_occurred[positions]
        if not bool(has_occurred.all()):
            biases = torch.where(has_occurred, biases, self.new_item_bias())
        return biases[:, None]
