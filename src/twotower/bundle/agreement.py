"""Files that are each whole must also belong together, and be of use: what a first request would find.

Shapes: N users or items, W width of a feature, D embedding.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twotower.bundle import layout
from twotower.bundle.arrays import read_array
from twotower.bundle.bundle import Bundle
from twotower.bundle.manifest import REMEDY, Manifest
from twotower.config.errors import InputError
from twotower.data.history import History
from twotower.features.feature_table import FeatureTable


def check_items(folder: Path, manifest: Manifest, vectors: np.ndarray) -> None:
    """Check the vectors of the catalogue.

    Raises:
        InputError: they are not as the manifest says.
    """
    path = folder / layout.ITEM_VECTORS
    _check_array(path, vectors, "float32", (manifest.num_items, manifest.embedding_dim))
    if not np.isfinite(vectors).all():
        _refuse(path, "holds values that are not finite")


def check_history(folder: Path, manifest: Manifest, history: History) -> None:
    """Check who has which items.

    Raises:
        InputError: a file does not fit the manifest or the others.
    """
    offsets, items, times = history.offsets, history.items, history.times
    _check_array(folder / layout.HISTORY_OFFSETS, offsets, "int64", (manifest.num_users + 2,))
    _check_array(folder / layout.HISTORY_ITEMS, items, "int32", (len(items) if items.ndim else 0,))
    _check_array(folder / layout.HISTORY_TIMES, times, "int64", items.shape)
    if int(offsets[0]) != 0 or (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) != len(items):
        _refuse(folder / layout.HISTORY_OFFSETS, f"does not divide the {len(items)} history items")
    if len(items) and (items.min() < 0 or items.max() > manifest.num_items):
        _refuse(folder / layout.HISTORY_ITEMS, f"holds rows outside 0..{manifest.num_items}")


def check_agreement(bundle: Bundle) -> None:
    """Check sizes, dimensions and ids against the manifest and each other.

    Raises:
        InputError: names the file that does not fit.
    """
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
    if bundle.item_label is not None and bundle.item_label not in bundle.item_table:
        _refuse(folder / layout.ITEMS, f"no column {bundle.item_label!r:.80}, which is to name items")
    if bundle.manifest.export is not None:
        path = folder / layout.HISTORY_VECTORS
        vectors = read_array(path, mapped=True)
        _check_array(path, vectors, "float32", (num_items + 1, bundle.model.history.dim))
        if not np.isfinite(vectors).all() or vectors[0].any():
            _refuse(path, "holds values that are not finite, or not zeros for row 0")


def check_use(bundle: Bundle) -> None:
    """Encode, embed and search a little of everything.

    Raises:
        InputError: what comes out is not what must. Of a wrong file a library may also raise its own error.
    """
    model, dim = bundle.model, bundle.manifest.embedding_dim
    records: list[Any] = [{}, *bundle.item_table.head(1).to_dict("records")]
    persons: list[Any] = [{}, *bundle.user_table.head(1).to_dict("records")]
    with torch.inference_mode():
        _check_encoded("user", model.users, model.user_encoders)
        _check_encoded("item", model.items, model.item_encoders)
        items = model.encode_item_features(model.items.encode(records))
        _check_finite("items", items, (len(records), dim))
        people = model.users.encode(persons)
        num = len(next(iter(people.values()))) if people else 2
        rows, times = bundle.history.last(np.zeros(num, dtype=np.int64), model.history.config.length)
        rows[:, -1], times[:, -1] = 1, bundle.request_time  # whoever is asked for, an item came before
        asked = torch.full((num,), bundle.request_time)
        users = model.encode_user_features(people, torch.from_numpy(rows), torch.from_numpy(times), asked)
        _check_finite("users", users, (num, dim))
    found = bundle.index.search(users.float().numpy(), 1).rows.max()
    if found > bundle.manifest.num_items:
        raise InputError(f"the index finds item {found}, and there are {bundle.manifest.num_items}")


def _check_array(path: Path, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    if (str(array.dtype), array.shape) != (dtype, shape):
        _refuse(path, f"expected {dtype} {shape}, found {array.dtype} {array.shape}")


def _refuse(path: Path, problem: str) -> None:
    raise InputError(f"{path}: does not fit the other files: {problem}; {REMEDY}")


def _check_encoded(side: str, table: FeatureTable, encoders: nn.ModuleDict) -> None:
    """Check that each encoder takes the least and the largest of what it is given, and so all of it."""
    for name, values in table.gather(torch.arange(table.num_rows + 1)).items():
        embedded = encoders[name](torch.stack([values.amin(0), values.amax(0)]))
        _check_finite(f"{side}.{name}", embedded, (2, table.output_dims[name]))


def _check_finite(what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape or not bool(values.isfinite().all()):
        raise InputError(
            f"{what}: expected finite numbers {shape}, found {values.dtype} {tuple(values.shape)}"
        )
