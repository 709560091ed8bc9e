"""What every item bias does.

The user's embedding has a 1 where the item's has its bias, so that the score stays one dot product.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source


class LogPriorOdds(NamedTuple):
    """Log prior odds of items, which change with time, at the moments of a batch's requests.

    Attributes:
        table: [T, C] at T moments.
        moments: [B] the row of the table of each request.
        odds: [T, C] exponentials of the table, if they are already computed.
    """

    table: Tensor
    moments: Tensor
    odds: Tensor | None = None

    def of_pairs(self, rows: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the log prior odds of item rows [P] or [P, H] for requests at positions `users` [P]."""
        moments = self.moments[: len(rows)] if users is None else self.moments[users]
        return self.table[moments if rows.ndim == 1 else moments[:, None], rows]

    def of_items(self, rows: Tensor) -> "LogPriorOdds":
        """Return the columns of item rows [C]."""
        num_items = self.table.shape[1] - 1
        if len(rows) == num_items and bool((rows[1:] > rows[:-1]).all()):  # the catalogue: no copy
            return LogPriorOdds(
                self.table[:, 1:], self.moments, None if self.odds is None else self.odds[:, 1:]
            )
        occurring, moments = self.moments.unique(return_inverse=True)
        return LogPriorOdds(self.table.index_select(0, occurring).index_select(1, rows), moments)


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

        def problems(
            self, data: Source.Config | None = None, learns_temperature: bool | None = None
        ) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`.

            Args:
                data: what the run reads.
                learns_temperature: whether the temperature of the loss is trained.
            """
            return ()

        def build(self, num_items: int) -> "ItemBias":
            """Build the bias, all zeros."""
            return self.make(ItemBias, num_items)

    config: Config

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Set the biases from which training starts.

        Args:
            interactions: what is trained on.
            temperature: what the loss divides scores by, biases of the embedding included.
            power: of the link function of the loss; None: odds are exponentials of scores.
        """

    @property
    def neutral_bias(self) -> float:
        """The column of an item with bias 0, where biases multiply embeddings (`EmbeddingLayout`); else 0."""
        return 0.0

    @property
    def bias_scale(self) -> float:
        """The factor from log odds to biases of the embedding, where it is known."""
        return 1.0

    def log_prior_odds(self, times: Tensor) -> LogPriorOdds | None:
        """Return what is added to the logits of all items [N + 1] while training, in place of biases.

        None, the default: nothing; a bias that does not change with time is a column of the embedding.

        Args:
            times: [B] unix seconds of the requests.
        """
        return None

    def warm_start(self, before: "ItemBias", rows: Tensor, interactions: Interactions | None) -> None:
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
