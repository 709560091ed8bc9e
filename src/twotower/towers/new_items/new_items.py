"""How items are embedded that training never saw.

Shapes: B items, N known items, W width of a feature, D embedding, T of it the tower's output.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Set

import torch
from torch import Tensor, nn

from twotower.config.component import Component
from twotower.features.feature import Feature
from twotower.features.feature_table import FeatureTable
from twotower.features.id import Id
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.item_bias.item_bias import ItemBias


class NewItems(Component, nn.Module, ABC):
    """From encoded features to the embedding of a new item. Known items have theirs from training.

    Args:
        config: the choice.
        items: features of the catalogue; its rows are not looked at.
        encoders: of these features, in the item tower.
        layout: of an embedding.
        provides: what the item tower does, see `Tower.Config.provides`.
    """

    class Config(Component.Config):
        """Settings of every choice."""

        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return the item features, of those given by name, that embeddings of new items depend on.

            Those that the item tower reads count without being named here.
            """
            return features.keys()

        def problems(self, item_bias: ItemBias.Config | None = None) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`.

            Args:
                item_bias: of the towers.
            """
            return ()

        def build(
            self,
            items: FeatureTable,
            encoders: nn.ModuleDict,
            layout: EmbeddingLayout,
            provides: frozenset[str],
        ) -> "NewItems":
            """Build it, not fitted."""
            return self.make(NewItems, items, encoders, layout, provides)

    config: Config

    def __init__(
        self,
        config: Config,
        items: FeatureTable,
        encoders: nn.ModuleDict,
        layout: EmbeddingLayout,
        provides: frozenset[str],
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.is_unit = "unit_vectors" in provides
        self.ids = [name for name, feature in items.features.items() if isinstance(feature, Id)]

    def fit(self, features: Mapping[str, Tensor], embeddings: Tensor, bias_scale: float = 1.0) -> None:
        """Learn from trained items.

        Args:
            features: encoded, each [N, W].
            embeddings: [N, D].
            bias_scale: see `ItemBias.bias_scale`.
        """

    def are_new(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return which items, of encoded features [B, W], training did not know: those of an unknown id."""
        first = next(iter(features.values()))
        found = torch.zeros(len(first), dtype=torch.bool, device=first.device)
        for name in self.ids:
            found = found | (features[name][:, 0] == 0)
        return found

    def among(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return embeddings [B, D], or outputs of the tower [B, T], with those of new items put in.

        While training they are as they were.
        """
        new = self.are_new(features)
        if self.training or not bool(new.any()):
            return embeddings
        found = embeddings.clone()
        places = new.nonzero()[:, 0]
        chosen = {name: values[places] for name, values in features.items()}
        found[places] = self(chosen, embeddings[places])[:, : embeddings.shape[1]].to(found.dtype)
        return found

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Embed new items.

        Args:
            features: encoded, each [B, W].
            embeddings: [B, D] or [B, T], what the item tower makes of them.

        Returns:
            [B, D].
        """

    def __call__(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """See `forward`."""
        found: Tensor = super().__call__(features, embeddings)
        return found
