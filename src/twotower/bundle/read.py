"""Verify and read a bundle: towers, index and catalogue.

Shapes: B users, N items, W width of a feature, L history length, H vectors of history items, D embedding.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from twotower.bundle import layout
from twotower.bundle.manifest import REMEDY, Manifest, refusing, verify
from twotower.config.errors import InputError
from twotower.config.trust import check_targets
from twotower.data.interactions import Interactions
from twotower.data.vocabulary import Vocabulary
from twotower.files.plain_values import read_json, read_yaml
from twotower.index.index import Index
from twotower.model.features.feature import Feature, check_name, feature_from_json
from twotower.model.features.feature_table import FeatureTable, table_features
from twotower.model.towers.two_tower import TwoTower, TwoTowerConfig
from twotower.model.towers.user_batch import UserBatch

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
PARTS = ("history", "user_tower", "item_tower", "item_bias", "new_items")
"""Settings that are read to build the towers."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """The content of a bundle."""

    folder: Path
    manifest: Manifest
    settings: dict[str, Any]
    """The resolved configuration of its run."""
    model: TwoTower
    """In eval mode, without gradients."""
    index: Index
    """Over the catalogue; its ids are rows."""
    item_embeddings: np.ndarray
    """Float32 [N, D]; row r is at position r - 1."""
    users: Vocabulary
    items: Vocabulary
    user_table: pd.DataFrame
    item_table: pd.DataFrame
    history: Interactions
    """Memory-mapped."""

    def tower_outputs(self, rows: np.ndarray) -> np.ndarray:
        """Return the outputs of the item tower, without the bias, for item rows [n] from 1."""
        return self.model.layout.tower(self.item_embeddings[rows - 1])


def read_bundle(folder: Path, trusted_packages: Collection[str] = ()) -> Bundle:
    """Verify every file of a bundle, then read it.

    Checksums do not authenticate the author: classes are imported only from twotower and `trusted_packages`
    (packages, modules or classes), files are compared with each other, and a user and an item are embedded.

    Raises:
        InputError: a file is damaged, missing, not listed, or does not match the others.
    """
    folder = Path(folder)
    manifest = verify(folder)
    settings = read_yaml(folder / layout.CONFIG, REMEDY)
    if not isinstance(settings, dict):
        raise InputError(f"{folder / layout.CONFIG}: expected a mapping of settings; {REMEDY}")
    shape = (manifest.num_items, manifest.embedding_dim)
    item_embeddings = np.array(_read_array(folder, layout.ITEM_EMBEDDINGS, "float32", shape))
    if not np.isfinite(item_embeddings).all():
        _refuse(folder / layout.ITEM_EMBEDDINGS, "contains values that are not finite")
    history = _read_history(folder, manifest)
    user_table, users = _read_table(folder, layout.USERS, "user_id", manifest.num_users, manifest)
    item_table, items = _read_table(folder, layout.ITEMS, "item_id", manifest.num_items, manifest)
    model = _read_towers(folder, manifest, settings, trusted_packages)
    index = _read_index(folder, manifest, trusted_packages)
    tables = user_table, item_table
    bundle = Bundle(folder, manifest, settings, model, index, item_embeddings, users, items, *tables, history)
    _check_agreement(bundle)
    with refusing(folder / layout.FEATURES, manifest):
        _smoke_test(bundle)
    return bundle


def _read_towers(
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


def _read_array(folder: Path, name: str, dtype: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Map an array into memory, which refuses pickle and headers that declare more than the file has."""
    path = folder / name
    try:
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # the header is a Python literal, which can raise many kinds of errors
        raise InputError(f"{path}: not a plain numpy array ({error})") from error
    expected = (array.size,) if shape is None else shape
    if (str(array.dtype), array.shape) != (dtype, expected):
        _refuse(path, f"expected {dtype} {expected}, found {array.dtype} {array.shape}")
    return array


def _read_history(folder: Path, manifest: Manifest) -> Interactions:
    offsets = np.array(_read_array(folder, layout.HISTORY_OFFSETS, "int64", (manifest.num_users + 2,)))
    items = _read_array(folder, layout.HISTORY_ITEMS, "int32")
    times = _read_array(folder, layout.HISTORY_TIMES, "int64", items.shape)
    events, roles = (
        _read_array(folder, name, dtype, items.shape) if name in manifest.files else None
        for name, dtype in ((layout.HISTORY_EVENTS, "int16"), (layout.HISTORY_ROLES, "int8"))
    )
    if int(offsets[0]) != 0 or (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) != len(items):
        _refuse(folder / layout.HISTORY_OFFSETS, f"does not partition the {len(items)} history items")
    for name, numbers, most in (
        (layout.HISTORY_ITEMS, items, manifest.num_items),
        (layout.HISTORY_EVENTS, events, len(manifest.event_types)),
    ):
        if numbers is not None and len(numbers) and (numbers.min() < 0 or numbers.max() > most):
            _refuse(folder / name, f"contains numbers outside 0..{most}")
    return Interactions(offsets, items, times, events=events, roles=roles)


def _read_table(
    folder: Path, name: str, key: str, num_rows: int, manifest: Manifest
) -> tuple[pd.DataFrame, Vocabulary]:
    """Return a table and its ids, which are numbers or text in ascending order."""
    with refusing(folder / name, manifest):
        table = pd.read_parquet(folder / name)
        if len(table) != num_rows or key not in table:
            raise InputError(f"expected {num_rows:,} rows with a column {key!r}, found {len(table):,} rows")
        values = table[key].to_numpy()
        if values.dtype.kind not in "iu":
            if not all(isinstance(value, str) for value in values):
                raise InputError(f"column {key!r} must contain whole numbers or text")
            values = values.astype(np.str_)
        if not bool(np.all(values[1:] > values[:-1])):
            raise InputError(f"column {key!r} must contain distinct ids in ascending order")
        return table, Vocabulary(values)


def _read_index(folder: Path, manifest: Manifest, trusted_packages: Collection[str]) -> Index:
    entry = manifest.index
    with refusing(folder / layout.MANIFEST, manifest):
        check_targets(entry.spec, folder / layout.MANIFEST, trusted_packages)
        config = Index.Config.from_spec(entry.spec, "index.spec")
        config.check_sizes(manifest.embedding_dim, manifest.num_items)
        index = config.build()
    with refusing(folder / layout.INDEX, manifest):
        index.load(folder / layout.INDEX)
    with refusing(folder / layout.MANIFEST, manifest):
        index.set_search_args(entry.search_args)
    return index


def _check_agreement(bundle: Bundle) -> None:
    """Check that the files belong to one bundle."""
    folder, index = bundle.folder, bundle.index
    num_items, dim = bundle.manifest.num_items, bundle.manifest.embedding_dim
    for name, what, found, expected in (
        (layout.CONFIG, "embedding_dim", bundle.settings["embedding_dim"], dim),
        (layout.INDEX, "dimension", index.dim, dim),
        (layout.INDEX, "vectors", index.num_vectors, num_items),
        (layout.INDEX, "metric", index.metric, "inner_product"),
    ):
        if found != expected:
            _refuse(folder / name, f"{what}: expected {expected}, found {found!r:.80}")
    if not np.array_equal(index.rows, np.arange(1, num_items + 1)):
        _refuse(folder / layout.INDEX, f"its ids are not the rows 1..{num_items}")
    label = bundle.manifest.item_label
    if label is not None and label not in bundle.item_table:
        _refuse(folder / layout.ITEMS, f"it has no column {label!r:.80}, the label of items")


def _smoke_test(bundle: Bundle) -> None:
    """Embed all kinds of encoded values, a new item and a new user, so that requests do not fail."""
    model, dim = bundle.model, bundle.manifest.embedding_dim
    sides = {
        "user": (model.users, model.user_encoders),
        "item": (model.items, model.item_encoders),
        "context": (model.contexts, model.context_encoders),
    }
    with torch.inference_mode():
        for side, (table, encoders) in sides.items():
            for name, values in table.gather(torch.arange(table.num_rows + 1)).items():
                embedded = encoders[name](torch.stack([values.amin(0), values.amax(0)]))
                _check_finite(f"{side}.{name}", embedded, (2, table.output_dims[name]))
        _check_finite("items", model.encode_item_features(model.items.encode([{}])), (1, dim))
        rows, times = bundle.history.last(np.zeros(1, dtype=np.int64), model.history.config.length)
        rows[:, -1:], times[:, -1:] = 1, bundle.manifest.request_time  # so that the history is not empty
        now = torch.full((1,), bundle.manifest.request_time)
        histories = torch.from_numpy(rows), torch.from_numpy(times)
        batch = UserBatch.from_features(model.users.encode([{}]), *histories, now)
        _check_finite("users", model.encode_users(batch), (1, dim))


def _check_finite(what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape or not bool(values.isfinite().all()):
        raise InputError(f"{what}: expected finite numbers {shape}, found {tuple(values.shape)}")


def _refuse(path: Path, problem: str) -> NoReturn:
    raise InputError(f"{path}: does not fit the other files: {problem}; {REMEDY}")


def gather_history_vectors(
    model: TwoTower, rows: Integers, tower_outputs: Callable[[Integers], Floats]
) -> tuple[Floats, Integers]:
    """Return the vectors [R, H] that `rows` [B, L] of history items refer to, and positions [B, L] in them.

    Row 0 of the vectors is zeros; position 0 is padding, or an item that the encoder does not know. A history
    encoder with its own table (`history.items: table`) reads only the items that were trained; other encoders
    read the outputs of the item tower, which `tower_outputs` returns for rows [n].
    """
    if model.history.config.reads_table:
        trained = model.trained_items.numpy()
        is_known = trained[np.where(rows < len(trained), rows, 0)]  # rows of added items exceed the table
        return model.history_table.weight.detach().numpy(), np.where(is_known, rows, 0)
    is_item = rows > 0
    outputs = tower_outputs(rows[is_item])[:, : model.history.item_dim]
    vectors = np.concatenate([np.zeros_like(outputs, shape=(1, outputs.shape[1])), outputs])
    positions = np.zeros_like(rows)
    positions[is_item] = np.arange(1, len(vectors))
    return vectors, positions
