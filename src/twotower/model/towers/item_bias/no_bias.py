"""No item bias."""

from typing import ClassVar

from torch import Tensor

from twotower.model.towers.item_bias.item_bias import ItemBias


class NoBias(ItemBias):
    """No column in the embedding."""

    class Config(ItemBias.Config):
        width: ClassVar[int] = 0

    def forward(self, rows: Tensor) -> Tensor:
        """Return no column."""
        return rows.new_zeros((len(rows), 0))
