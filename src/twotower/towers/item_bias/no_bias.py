"""No item bias."""

from torch import Tensor

from twotower.data.history import History
from twotower.towers.item_bias.item_bias import ItemBias


class NoBias(ItemBias):
    """Items are told apart by the towers alone."""

    @property
    def width(self) -> int:
        """None."""
        return 0

    def initialise(self, log: History) -> None:
        """There is nothing to set."""

    def forward(self, rows: Tensor) -> Tensor:
        """Return no column."""
        return rows.new_zeros((len(rows), 0))
