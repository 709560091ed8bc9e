"""The base class of item biases.

The user embedding has a 1 in the column of the item bias, so that the score is one dot product.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, NamedTuple, Self

from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.data.interactions import Interactions


class LogPriorOdds(NamedTuple):
    """Log prior odds of items, which depend on the time of the request."""

    table: Tensor
    """[T, C] at T times."""
    moments: Tensor
    """[B] the row of the table of each request."""
    odds: Tensor | None = None
    """[T, C] exponentials of the table, if they are precomputed."""

    def for_pairs(self, rows: Tensor, users: Tensor | None = None) -> Tensor:
        """Return the log prior odds of item rows [P] or [P, H] for requests at positions `users` [P]."""
        moments = self.moments[: len(rows)] if users is None else self.moments[users]
        return self.table[moments if rows.ndim == 1 else moments[:, None], rows]

    def select(self, rows: Tensor) -> "LogPriorOdds":
        """Return the columns of item rows [C]."""
        num_items = self.table.shape[1] - 1
        if len(rows) == num_items and bool((rows[1:] > rows[:-1]).all()):  # the catalogue: no copy
            odds = None if self.odds is None else self.odds[:, 1:]
            return LogPriorOdds(self.table[:, 1:], self.moments, odds)
        occurring, moments = self.moments.unique(return_inverse=True)
        return LogPriorOdds(self.table.index_select(0, occurring).index_select(1, rows), moments)


class ItemBias(Component, nn.Module, ABC):
    """One number for each of `num_items` items."""

    class Config(Component.Config):
        width: ClassVar[int] = 1
        """Number of columns in the embedding: 0 or 1."""

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether the gradients are sparse, which the optimizer must support."""
            return False

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        def resolve(self, horizon_days: int) -> Self:
            """Return the settings with the values that the data determines; here unchanged.

            Args:
                horizon_days: see `RetrievalDataset.horizon_days`.
            """
            return self

        def build(self, num_items: int) -> "ItemBias":
            """Build the bias, all zeros."""
            return self.make(ItemBias, num_items)

    config: Config

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__(config)
        self.num_items = num_items

    def initialize(
        self, interactions: Interactions, temperature: float = 1.0, power: float | None = None
    ) -> None:
        """Set the initial biases from the training interactions.

        The loss divides scores, including the bias, by the temperature. `power` is the exponent of its link
        function; None: odds are exponentials of scores.
        """

    @property
    def neutral_bias(self) -> float:
        """The column of an item with bias 0 if biases multiply embeddings (`EmbeddingLayout`); else 0."""
        return 0.0

    def log_prior_odds(self, times: Tensor) -> LogPriorOdds | None:
        """Return addends of the logits at unix seconds [B], which training uses in place of biases.

        None, the default: a bias that does not depend on time is a column of the embedding.
        """
        return None

    def warm_start(self, before: "ItemBias", rows: Tensor, interactions: Interactions | None) -> None:
        """Copy the values of known items from the item bias of a parent run, with the same settings.

        `rows` [N] are the earlier rows of items, 0 for a new item; `interactions` are the new training
        interactions, None without training. Tensors with one entry per item may have one more at position 0,
        for the unknown item; all other tensors are copied.
        """
        learned, known = before.state_dict(), rows > 0
        for name, values in self.state_dict().items():
            earlier, unknown = learned[name], len(values) - self.num_items if values.ndim else -1
            if unknown in (0, 1) and len(earlier) == before.num_items + unknown:
                values[:unknown] = earlier[:unknown]
                values[unknown:][known] = earlier[unknown:][rows[known] - 1]
            else:
                values.copy_(earlier)

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Return the biases of rows [B], [B, width]; rows beyond N are new items, row 0 is unknown."""
