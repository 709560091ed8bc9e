"""What every item bias does.

The user's embedding has a 1 where the item's has its bias, so that the score stays one dot product.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.data.interactions import Interactions


class Prior(NamedTuple):
    """Biases that change with time: `lifts` [T, C] of candidates at moments, `moments` [B] of examples.

    `odds` [T, C] are their exponentials, where these are there already.
    """

    lifts: Tensor
    moments: Tensor
    odds: Tensor | None = None


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

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether the optimizer must take sparse gradients."""
            return False

        def build(self, num_items: int) -> "ItemBias":
            """Build the bias, all zeros."""
            return self.make(ItemBias, num_items)

    config: Config

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items

    def initialise(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Set the biases from which training starts.

        Args:
            interactions: what is trained on.
            temperature: what the loss divides scores by, biases of the embedding included.
            power: of the loss, see `Loss.Config.score_power`.
        """

    @property
    def unit(self) -> float:
        """What a bias of 0 is where biases are factors of what is ranked (`EmbeddingLayout`); else 0."""
        return 0.0

    @property
    def scale(self) -> float:
        """What a bias is divided by to be the log of odds, where that is known."""
        return 1.0

    def prior(self, rows: Tensor, times: Tensor) -> Prior | None:
        """Return what is added to logits while training, beside the column of the embedding.

        None, the default: nothing; a bias that does not change with time is all in that column.

        Args:
            rows: [C] item rows, from 1.
            times: [B] unix seconds at which each example was asked for.
        """
        return None

    def go_on(self, before: "ItemBias", rows: Tensor, interactions: Interactions | None) -> None:
        """Take over what another one has learned of the items that it knows.

        Here every tensor with an entry an item, or with one more for the unknown item at its beginning.

        Args:
            before: of the same settings.
            rows: [N] its row of each item, 0 for an item that it does not know.
            interactions: what is trained on from here; None if nothing is.
        """
        learned, own = before.state_dict(), self.state_dict()
        for name, origins in self.origins(before, rows).items():
            values, known = own[name].clone(), origins >= 0
            values[known] = learned[name][origins[known]]
            learned[name] = values
        self.load_state_dict(learned)

    def origins(self, before: "ItemBias", rows: Tensor) -> dict[str, Tensor]:
        """Return tensor with an entry an item -> the place of each entry in `before`, -1 where it is new."""
        with_unknown = torch.cat([rows.new_zeros(1), torch.where(rows > 0, rows, -1)])
        places = {(self.num_items, before.num_items): rows - 1}
        places[self.num_items + 1, before.num_items + 1] = with_unknown
        learned = before.state_dict()
        sizes = {
            name: (len(values), len(learned[name]))
            for name, values in self.state_dict().items()
            if values.ndim
        }
        return {name: places[size] for name, size in sizes.items() if size in places}

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Return biases of rows [B] -> [B, width]; rows beyond N are new items, row 0 unknown ones."""
