"""The base class of initializations: the weights before training."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.data.interactions import Interactions
from twotower.model.features.encoders import LookupEncoder
from twotower.model.features.id import Id
from twotower.model.towers.two_tower import TwoTower

ValidationScore = Callable[[], float]
"""Returns the monitored metric of the towers on the validation split, negated if lower is better."""


class Initialization(Component, ABC):
    """Sets the initial weights from the training interactions, before each phase.

    Attributes:
        informed: whether the initial embeddings may be better than those after any epoch.
    """

    informed: ClassVar[bool] = False

    class Config(Component.Config):
        def build(self) -> "Initialization":
            """Build the initialization."""
            return self.make(Initialization)

    config: Config

    @property
    def name(self) -> str:
        """Name of the choice: the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    def chosen(self) -> dict[str, float]:
        """Return the settings that were null and determined on the validation split, by name; here none."""
        return {}

    @abstractmethod
    def set(
        self, model: TwoTower, interactions: Interactions, validation_score: ValidationScore | None
    ) -> None:
        """Set weights of new towers, whose weights are random.

        Args:
            validation_score: of the towers; None if the phase has no validation split. Settings that an
                earlier phase determined are used then.

        Raises:
            InputError: the initialization does not support these towers or interactions.
        """


def item_tables(model: TwoTower) -> list[tuple[Tensor, Tensor]]:
    """Return the tables of item embeddings, and the position of each item in them, [N], -1 = none.

    These are the embeddings of item ids with the width of the towers' output, and the history table; of a
    table that is divided among processes, the rows of this one.
    """
    rows = torch.arange(1, len(model.trained_items))
    tables: list[tuple[Tensor, Tensor]] = []
    for name, positions in model.items.gather(rows).items():
        encoder = model.item_encoders[name]
        if not (isinstance(model.items.features[name], Id) and isinstance(encoder, LookupEncoder)):
            continue
        weight, own = encoder.local_table(positions.flatten().long())
        if weight.shape[1] == model.history.dim:
            tables.append((weight, own))
    if model.history.config.reads_table:
        table = model.history_table
        assert isinstance(table, nn.Embedding)
        tables.append((table.weight, rows))
    return tables
