"""The settings of two towers: the same for training and for the reader of a bundle."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from twotower.config.component import Config
from twotower.config.spec import Width
from twotower.features.feature_table import FeatureTable
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.new_items.by_tower import ByTower
from twotower.towers.new_items.new_items import NewItems
from twotower.towers.tower import Tower
from twotower.towers.two_tower import TwoTower


class _WithoutFirstWeights(TorchFunctionMode):
    """Draws none: for tensors without memory torch would import its compiler for it, which takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class TwoTowerConfig(Config):
    """What two towers are made of."""

    embedding_dim: Width
    """D, the width of an embedding, the column of the item bias included."""
    history: HistoryEncoder.Config
    user_tower: Tower.Config
    item_tower: Tower.Config
    item_bias: ItemBias.Config
    new_items: NewItems.Config = ByTower.Config()
    """How items are embedded that training did not know."""

    @property
    def tower_width(self) -> int:
        """The width of the towers' output: the embedding without the column of the item bias."""
        return self.embedding_dim - self.item_bias.width

    def provides(self) -> frozenset[str]:
        """Return what these towers provide of what a loss may need."""
        return frozenset(need for need, remedy in self.remedies().items() if not remedy)

    def remedies(self) -> dict[str, str]:
        """Return what a loss may need of towers -> what to set for it; empty where these do."""
        towers = {"user_tower": self.user_tower, "item_tower": self.item_tower}
        lacking = [tower.remedy(key) for key, tower in towers.items() if "unit_vectors" not in tower.provides]
        return {
            "unit_vectors": " and ".join(lacking),
            "no_item_bias": "set item_bias=none" if self.item_bias.width else "",
        }

    def shapes(
        self,
        users: FeatureTable,
        items: FeatureTable,
        contexts: FeatureTable | None = None,
        num_events: int = 0,
    ) -> TwoTower:
        """Build the towers without memory for their weights, to see what these would take."""
        with torch.device("meta"), _WithoutFirstWeights():
            trained_items = torch.ones(items.num_rows + 1, dtype=torch.bool)
            return self.build_towers(users, items, trained_items, contexts, num_events)

    def build_towers(
        self,
        users: FeatureTable,
        items: FeatureTable,
        trained_items: Tensor,
        contexts: FeatureTable | None = None,
        num_events: int = 0,
    ) -> TwoTower:
        """Build untrained towers.

        Args:
            users: features of all users.
            items: features of the catalogue.
            trained_items: [N + 1] bool, see `TwoTower`.
            contexts: features of all contexts of a request; None where there are none.
            num_events: the kinds of events of histories.
        """
        item_bias = self.item_bias.build(len(trained_items) - 1)
        dim = self.tower_width
        # A history made of the item tower's outputs is as wide as they are; so is, for simplicity, its table.
        history = self.history.build(dim)
        contexts = FeatureTable({}, {}, 0) if contexts is None else contexts
        user_blocks = users.output_dims | contexts.output_dims | self.history.block_dims(dim)
        user_tower = self.user_tower.build(user_blocks, dim)
        item_tower = self.item_tower.build(items.output_dims, dim)
        parts = history, user_tower, item_tower, item_bias, trained_items, contexts, num_events
        return TwoTower(users, items, *parts, self.new_items)
