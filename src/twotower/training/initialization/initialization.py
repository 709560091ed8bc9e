"""What every start does."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.data.interactions import Interactions
from twotower.features.encoders import LookupEncoder
from twotower.features.id import Id
from twotower.towers.two_tower import TwoTower

Judge = Callable[[], float]
"""Tells how good the towers are on the validation split as they stand; more is better."""


class Initialization(Component, ABC):
    """Sets first weights from the log that is trained on, for every phase of a training in turn.

    Args:
        config: the choice.

    Attributes:
        informed: whether towers know something before training, so that no epoch may be better than none.
    """

    informed: ClassVar[bool] = False

    class Config(Component.Config):
        """Settings of every start."""

        def build(self) -> "Initialization":
            """Build the start."""
            return self.make(Initialization)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """The choice that is typed for it: the name of its module."""
        return type(self).__module__.rpartition(".")[2]

    def chosen(self) -> dict[str, float]:
        """Return what was chosen of the settings that leave it open, by name; here nothing."""
        return {}

    @abstractmethod
    def set(self, model: TwoTower, interactions: Interactions, judge: Judge | None) -> None:
        """Set weights of towers just built, whose first weights are random.

        Args:
            model: the towers.
            interactions: what is trained on.
            judge: of the towers; None where a phase has no validation split, and what an earlier one chose
                holds.

        Raises:
            InputError: these towers or this log do not suit it; begins with its group.
        """


def item_tables(model: TwoTower) -> list[tuple[Tensor, Tensor]]:
    """Return the tables of item embeddings, and the row there of each item [N], 0 = none.

    They are those of ids as wide as the towers' output, and the history's own where it has one.
    """
    rows = torch.arange(1, len(model.trained_items))
    found: list[tuple[Tensor, Tensor]] = []
    for name, places in model.items.gather(rows).items():
        encoder = model.item_encoders[name]
        if not (isinstance(model.items.features[name], Id) and isinstance(encoder, LookupEncoder)):
            continue
        weight: Tensor = encoder.table.weight
        if weight.shape[1] == model.history.dim:
            found.append((weight, places.flatten().long()))
    if model.history.config.reads_table:
        table = model.history_table
        assert isinstance(table, nn.Embedding)
        found.append((table.weight, rows))
    return found
