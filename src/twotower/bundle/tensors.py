"""Features and towers of a bundle, built from its settings and checked against its tensors.

Shapes: N users or items, W width of a feature.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.manifest import Manifest, refusing
from twotower.config.errors import InputError
from twotower.config.trust import check_targets
from twotower.features.feature import Feature, check_name, feature_from_json
from twotower.features.feature_table import FeatureTable, table_features
from twotower.files.plain_values import read_json
from twotower.towers.two_tower import TwoTower
from twotower.towers.two_tower_config import TwoTowerConfig

PARTS = ("history", "user_tower", "item_tower", "item_bias", "new_items")
"""Settings that are read to build the towers."""


def read_towers(
    folder: Path, manifest: Manifest, settings: Mapping[str, Any], trusted_packages: Collection[str]
) -> TwoTower:
    """Read the trained towers. Raises InputError if a file cannot be read or does not match the settings."""
    config, features = folder / layout.CONFIG, folder / layout.FEATURES
    with refusing(config, manifest):
        parts: dict[str, Any] = {key: settings[key] for key in PARTS if key in settings}
        check_targets(parts, config, trusted_packages)
        chosen = TwoTowerConfig.from_settings(settings)
    with refusing(features, manifest):
        payload = read_json(features, "train again")
        check_targets(payload, features, trusted_packages)
        known = {side: _features(side, payload[side]) for side in ("user", "item", "context")}
    with refusing(folder / layout.ENCODED, manifest):
        encoded = load_file(folder / layout.ENCODED)
        sizes = {"user": manifest.num_users, "item": manifest.num_items, "context": manifest.num_contexts}
        tables = {side: _table(side, known[side], encoded, sizes[side]) for side in known}
    with refusing(folder / layout.TOWERS, manifest):
        trained = torch.zeros(manifest.num_items + 1, dtype=torch.bool)
        users, items, contexts = tables.values()
        model = TwoTower(chosen, users, items, trained, contexts, len(manifest.event_types))
        model.load_state_dict(load_file(folder / layout.TOWERS))
        for name, values in model.state_dict().items():
            if values.is_floating_point() and not bool(values.isfinite().all()):
                raise InputError(f"{name!r:.100} contains values that are not finite")
    return model.eval().requires_grad_(False)


def _features(side: str, payload: Mapping[str, Any]) -> dict[str, Feature]:
    features = {}
    for name, entry in payload.items():
        feature = features[name] = feature_from_json(entry, f"{side}.{name}")
        check_name(name, feature.config)
        feature.encode([None])  # raises if the state is invalid
    return features


def _table(
    side: str, features: dict[str, Feature], encoded: Mapping[str, Tensor], num_rows: int
) -> FeatureTable:
    values = {}
    for name, feature in table_features(features).items():
        key, unknown = f"{side}.{name}", feature.encode([None])
        values[name] = found = encoded[key]
        if (found.dtype, found.shape) != (unknown.dtype, (num_rows, unknown.shape[1])):
            raise InputError(
                f"{key}: expected {unknown.dtype} {(num_rows, unknown.shape[1])}, "
                f"found {found.dtype} {tuple(found.shape)}"
            )
    return FeatureTable(features, values, num_rows)
