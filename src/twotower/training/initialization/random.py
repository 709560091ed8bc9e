"""Nothing is known at first."""

import torch

from twotower.config.spec import PositiveFloat
from twotower.data.interactions import Interactions
from twotower.towers.two_tower import TwoTower
from twotower.training.initialization.initialization import Initialization, Judge, item_tables


class Random(Initialization):
    """First weights are random, as the towers draw them; embeddings of items may be drawn smaller.

    What is drawn for an item that is seldom taken stays in it as noise: `experiment=beauty` (nine items a
    user) is better and trains half the epochs with a scale of 0.16.
    """

    class Config(Initialization.Config):
        """How large they are."""

        scale: PositiveFloat = 1.0
        """What first embeddings of items are multiplied with; those of ids as wide as the towers' output."""

    config: Config

    def set(self, model: TwoTower, interactions: Interactions, judge: Judge | None) -> None:
        """Scale the tables; see `Initialization.set`."""
        for table, _ in item_tables(model):
            with torch.no_grad():
                table *= self.config.scale
