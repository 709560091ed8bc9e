"""What every item bias does.

The user's embedding has a 1 where the item's has its bias, so that the score stays one dot product.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from twotower.data.history import History


class ItemBias(nn.Module, ABC):
    """One number an item.

    Args:
        num_items: N.
    """

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.num_items = num_items

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of the embedding it takes: 0 or 1."""

    @abstractmethod
    def initialise(self, log: History) -> None:
        """Set the biases from which training starts."""

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Return biases of rows [B] -> [B, width]; rows beyond N are new items, row 0 unknown ones."""
