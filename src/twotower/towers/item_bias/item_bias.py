"""What every item bias does.

The user's embedding has a 1 where the item's has its bias, so that the score stays one dot product.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from twotower.config.component import Component
from twotower.data.history import History


class ItemBias(Component, nn.Module, ABC):
    """One number an item.

    Args:
        config: the choice.
        num_items: N.
    """

    class Config(Component.Config):
        """Settings of every item bias."""

        @property
        def width(self) -> int:
            """Columns of the embedding it takes: 0 or 1."""
            return 1

        def build(self, num_items: int) -> "ItemBias":
            """Build the bias, all zeros."""
            return self.make(ItemBias, num_items)

    config: Config

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items

    def initialise(self, log: History) -> None:
        """Set the biases from which training starts."""

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Return biases of rows [B] -> [B, width]; rows beyond N are new items, row 0 unknown ones."""
