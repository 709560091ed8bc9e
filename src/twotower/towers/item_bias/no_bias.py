"""No item bias."""

from torch import Tensor

from twotower.towers.item_bias.item_bias import ItemBias


class NoBias(ItemBias):
    """Items are told apart by the towers alone."""

    class Config(ItemBias.Config):
        """Nothing to set."""

        @property
        def width(self) -> int:
            """None."""
            return 0

    def forward(self, rows: Tensor) -> Tensor:
        """Return no column."""
        return rows.new_zeros((len(rows), 0))
