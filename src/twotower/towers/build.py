"""From settings and encoded features to two towers: the same for training and for a bundle's reader."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from twotower.features.feature_table import FeatureTable
from twotower.spec import build
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.tower import Tower
from twotower.towers.two_tower import TwoTower


def build_two_tower(
    settings: Mapping[str, Any], users: FeatureTable, items: FeatureTable, trained_items: Tensor
) -> TwoTower:
    """Build untrained towers.

    Args:
        settings: with `embedding_dim`, `history`, `user_tower` and `item_tower`.
        users: features of all users.
        items: features of the catalogue.
        trained_items: [N + 1] bool, see `TwoTower`.
    """
    dim = settings["embedding_dim"]
    # A history made of the item tower's outputs is as wide as they are; so is, for simplicity, its own table.
    history = build(settings["history"], HistoryEncoder, dim)
    user_tower = build(
        settings["user_tower"],
        Tower,
        users.output_dims | history.block_dims(),
        dim,
    )
    item_tower = build(settings["item_tower"], Tower, items.output_dims, dim)
    return TwoTower(users, items, history, user_tower, item_tower, trained_items)
