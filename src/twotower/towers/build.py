"""From settings and encoded features to two towers: the same for training and for a bundle's reader."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from twotower.config.spec import TARGET, all_arguments, build, locate
from twotower.features.feature_table import FeatureTable
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.item_bias.item_bias import ItemBias
from twotower.towers.tower import Tower
from twotower.towers.two_tower import TwoTower


def build_two_tower(
    settings: Mapping[str, Any], users: FeatureTable, items: FeatureTable, trained_items: Tensor
) -> TwoTower:
    """Build untrained towers.

    Args:
        settings: with `embedding_dim`, `history`, `user_tower`, `item_tower` and `item_bias`.
        users: features of all users.
        items: features of the catalogue.
        trained_items: [N + 1] bool, see `TwoTower`.
    """
    item_bias = build(settings["item_bias"], ItemBias, len(trained_items) - 1)
    dim = tower_width(settings)
    # A history made of the item tower's outputs is as wide as they are; so is, for simplicity, its own table.
    history = build(settings["history"], HistoryEncoder, dim)
    user_tower = build(
        settings["user_tower"],
        Tower,
        users.output_dims | history.block_dims(),
        dim,
    )
    item_tower = build(settings["item_tower"], Tower, items.output_dims, dim)
    return TwoTower(users, items, history, user_tower, item_tower, item_bias, trained_items)


def needs_of_towers(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what a loss may need of towers -> what to set to have it, empty where these towers provide it.

    Args:
        settings: with `user_tower`, `item_tower` and `item_bias`.
    """
    remedies = []
    for side in ("user_tower", "item_tower"):
        arguments, tower = all_arguments(settings[side]), locate(settings[side][TARGET])
        assert issubclass(tower, Tower)
        if "unit_vectors" not in tower.provides(**arguments):
            by_key = "normalise" in arguments
            remedies.append(f"set {side}.normalise=l2" if by_key else f"choose a {side} of unit vectors")
    has_bias = build(settings["item_bias"], ItemBias, 1).width > 0
    return {
        "unit_vectors": " and ".join(remedies),
        "no_item_bias": "set item_bias=none" if has_bias else "",
    }


def tower_width(settings: Mapping[str, Any]) -> int:
    """Return the width of the towers' output: the embedding without the column of the item bias."""
    width: int = settings["embedding_dim"] - build(settings["item_bias"], ItemBias, 1).width
    return width
