"""From a verified folder to towers, index and catalogue, ready to serve."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.agreement import check_agreement
from twotower.bundle.bundle import Bundle
from twotower.bundle.manifest import EXPORT
from twotower.bundle.verify import verify
from twotower.data.history import History
from twotower.data.vocabulary import Vocabulary
from twotower.errors import InputError
from twotower.features.feature import feature_from_json
from twotower.features.feature_table import FeatureTable
from twotower.index.index import Index
from twotower.spec import build
from twotower.towers.build import build_two_tower
from twotower.towers.two_tower import TwoTower


def read_bundle(folder: Path) -> Bundle:
    """Verify every file of a bundle, then read it.

    Raises:
        InputError: names the file that is damaged, missing or not listed, or that does not fit the others.
    """
    folder = Path(folder)
    manifest = verify(folder)
    try:
        bundle = _read(folder, manifest)
    except (KeyError, TypeError, RuntimeError, AttributeError) as error:
        # The files are as written, so this code is not what wrote them.
        wrote, reads = manifest["versions"].get("twotower"), importlib.metadata.version("twotower")
        raise InputError(
            f"{folder}: written by twotower {wrote}, and this is {reads}, which cannot read it "
            f"({type(error).__name__}: {error!s:.300}); use the version that wrote it, or train again"
        ) from error
    check_agreement(bundle)
    return bundle


def _read(folder: Path, manifest: dict[str, Any]) -> Bundle:
    settings = yaml.safe_load((folder / layout.CONFIG).read_text(encoding="utf-8"))
    user_table, item_table = pd.read_parquet(folder / layout.USERS), pd.read_parquet(folder / layout.ITEMS)
    return Bundle(
        folder=folder,
        manifest=manifest,
        settings=settings,
        model=_read_towers(folder, manifest, settings),
        index=_read_index(folder, manifest["index"]),
        item_vectors=_load(folder / layout.ITEM_VECTORS),
        users=_vocabulary(folder / layout.USERS, user_table, "user_id"),
        items=_vocabulary(folder / layout.ITEMS, item_table, "item_id"),
        user_table=user_table,
        item_table=item_table,
        item_label=manifest["item_label"],
        history=History(
            np.asarray(_load(folder / layout.HISTORY_OFFSETS)),
            _load(folder / layout.HISTORY_ITEMS, mapped=True),
            _load(folder / layout.HISTORY_TIMES, mapped=True),
        ),
        request_time=manifest["request_time"],
        export=manifest.get(EXPORT),
    )


def _read_towers(folder: Path, manifest: Mapping[str, Any], settings: Mapping[str, Any]) -> TwoTower:
    payload = json.loads((folder / layout.FEATURES).read_text(encoding="utf-8"))
    encoded = load_file(folder / layout.ENCODED)
    tables = {
        side: _feature_table(side, payload[side], encoded, manifest[f"num_{side}s"])
        for side in ("user", "item")
    }
    state = load_file(folder / layout.TOWERS)
    trained_items = torch.zeros_like(state["trained_items"])
    model = build_two_tower(settings, tables["user"], tables["item"], trained_items)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _feature_table(
    side: str, payload: Mapping[str, Any], encoded: Mapping[str, Tensor], num_rows: int
) -> FeatureTable:
    features = {name: feature_from_json(feature) for name, feature in payload.items()}
    prefix = f"{side}."
    values = {key.removeprefix(prefix): tensor for key, tensor in encoded.items() if key.startswith(prefix)}
    return FeatureTable(features, values, num_rows)


def _read_index(folder: Path, entry: Mapping[str, Any]) -> Index:
    index = build(entry["spec"], Index)
    index.load(folder / layout.INDEX)
    if entry["search_args"]:
        index.set_search_args(entry["search_args"])
    return index


def _load(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except ValueError as error:
        raise InputError(f"{path}: not a plain numpy array ({error})") from error
    return array


def _vocabulary(path: Path, table: pd.DataFrame, key: str) -> Vocabulary:
    values = table[key].to_numpy()
    if values.dtype.kind not in "iu":
        values = values.astype(np.str_)
    if not bool(np.all(values[1:] > values[:-1])):
        raise InputError(f"{path}: column {key!r} must hold distinct ids in ascending order")
    return Vocabulary(values)
