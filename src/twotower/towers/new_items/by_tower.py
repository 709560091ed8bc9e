"""New items as the item tower embeds them."""

from collections.abc import Mapping, Set

from torch import Tensor

from twotower.features.feature import Feature
from twotower.towers.new_items.new_items import NewItems


class ByTower(NewItems):
    """The item tower's output for the unknown id, with the bias that the item bias gives new items."""

    class Config(NewItems.Config):
        """Nothing to set."""

        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return none: it reads only the item tower's output; see `NewItems.Config.reads`."""
            return frozenset()

    config: Config

    def among(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return the embeddings as they are."""
        return embeddings

    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return the embeddings as they are."""
        return embeddings
