"""Random initial embeddings."""

import torch

from twotower.config.spec import PositiveFloat
from twotower.data.interactions import Interactions
from twotower.model.towers.two_tower import TwoTower
from twotower.training.initialization.initialization import Initialization, ValidationScore, item_tables


class Random(Initialization):
    """Random initial weights, with a scale for the item embeddings.

    Initial values of rare items remain as noise after training, so sparse data benefits from a small scale.
    """

    class Config(Initialization.Config):
        scale: PositiveFloat = 1.0
        """Factor of the initial item embeddings; see `item_tables`."""

    config: Config

    def set(
        self, model: TwoTower, interactions: Interactions, validation_score: ValidationScore | None
    ) -> None:
        """Scale the tables; see `Initialization.set`."""
        for table, _ in item_tables(model):
            with torch.no_grad():
                table *= self.config.scale
