"""Embeddings of new items from the item tower."""

from collections.abc import Mapping, Set

from torch import Tensor

from twotower.model.features.feature import Feature
from twotower.model.towers.new_items.new_items import NewItems


class ByTower(NewItems):
    """The item tower's output for the unknown id, with the bias that the item bias gives new items."""

    class Config(NewItems.Config):
        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return an empty set: only the item tower reads features; see `NewItems.Config.reads`."""
            return frozenset()

    config: Config

    def replace_new(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return the embeddings unchanged."""
        return embeddings

    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return the embeddings unchanged."""
        return embeddings
