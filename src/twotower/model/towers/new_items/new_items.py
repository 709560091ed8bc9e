"""The base class of embeddings for new items.

Shapes: B items, N known items, W width of a feature, D embedding, T of it the tower's output.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Set

import torch
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.model.features.feature import Feature
from twotower.model.features.feature_table import FeatureTable
from twotower.model.features.id import Id
from twotower.model.towers.embedding_layout import EmbeddingLayout


class NewItems(Component, nn.Module, ABC):
    """Computes the embeddings of items without training interactions from their features.

    Args:
        config: the choice.
        items: feature table of the catalogue; only its features are used.
        encoders: encoders of these features in the item tower.
        layout: layout of an embedding.
        provides: properties of the item tower, see `Tower.Config.provides`.
    """

    class Config(Component.Config):
        def reads(self, features: Mapping[str, Feature.Config]) -> Set[str]:
            """Return the features that the embeddings depend on, besides the features of the item tower."""
            return features.keys()

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        def max_loss(self) -> float | None:
            """Return the share of recall that new items may cost known ones, to select the boost; or None."""
            return None

        def build(
            self,
            items: FeatureTable,
            encoders: nn.ModuleDict,
            layout: EmbeddingLayout,
            provides: frozenset[str],
        ) -> "NewItems":
            """Build the component, not fitted."""
            return self.make(NewItems, items, encoders, layout, provides)

    config: Config
    boost: Tensor
    """Added to the bias of new items."""

    def __init__(
        self,
        config: Config,
        items: FeatureTable,
        encoders: nn.ModuleDict,
        layout: EmbeddingLayout,
        provides: frozenset[str],
    ) -> None:
        super().__init__(config)
        self.layout = layout
        self.register_buffer("boost", torch.zeros(()))
        self.is_unit = "unit_vectors" in provides
        self.ids = [name for name, feature in items.features.items() if isinstance(feature, Id)]

    @property
    def has_boost(self) -> bool:
        """Whether `boost` has an effect."""
        return False

    def fit(self, features: Mapping[str, Tensor], embeddings: Tensor, temperature: float) -> None:
        """Fit to features [N, W] and embeddings [N, D] of trained items; see `TwoTower.fit_new_items`."""

    def is_new(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return whether each item of encoded features [B, W] has an unknown id, bool [B]."""
        first = next(iter(features.values()))
        is_new = torch.zeros(len(first), dtype=torch.bool, device=first.device)
        for name in self.ids:
            is_new = is_new | (features[name][:, 0] == 0)
        return is_new

    def replace_new(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Replace the embeddings [B, D], or tower outputs [B, T], of new items; no change in training."""
        new = self.is_new(features)
        if self.training or not bool(new.any()):
            return embeddings
        replaced = embeddings.clone()
        positions = new.nonzero()[:, 0]
        new_features = {name: values[positions] for name, values in features.items()}
        vectors = self(new_features, embeddings[positions])[:, : embeddings.shape[1]]
        replaced[positions] = vectors.to(replaced.dtype)
        return replaced

    @abstractmethod
    def forward(self, features: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Embed new items [B, D] from features [B, W] and outputs of the item tower, [B, D] or [B, T]."""
