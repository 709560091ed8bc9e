"""Files that are each whole must also belong together: sizes, dimensions and ids agree."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twotower.bundle import layout
from twotower.bundle.arrays import read_array
from twotower.bundle.bundle import Bundle
from twotower.bundle.manifest import REMEDY
from twotower.config.errors import InputError
from twotower.data.history import History


def check_items(folder: Path, manifest: Mapping[str, Any], vectors: np.ndarray) -> None:
    """Check the vectors of the catalogue.

    Raises:
        InputError: they are not as the manifest says.
    """
    name = layout.ITEM_VECTORS
    _check_array(folder / name, vectors, "float32", (manifest["num_items"], manifest["embedding_dim"]))
    if not np.isfinite(vectors).all():
        _refuse(folder / name, "holds values that are not finite")


def check_history(folder: Path, manifest: Mapping[str, Any], history: History) -> None:
    """Check who has which items.

    Raises:
        InputError: a file does not fit the manifest or the others.
    """
    offsets, items, times = history.offsets, history.items, history.times
    _check_array(folder / layout.HISTORY_OFFSETS, offsets, "int64", (manifest["num_users"] + 2,))
    _check_array(folder / layout.HISTORY_ITEMS, items, "int32", (len(items) if items.ndim else 0,))
    _check_array(folder / layout.HISTORY_TIMES, times, "int64", items.shape)
    if int(offsets[0]) != 0 or (offsets[1:] < offsets[:-1]).any() or int(offsets[-1]) != len(items):
        _refuse(folder / layout.HISTORY_OFFSETS, f"does not divide the {len(items)} history items")
    if len(items) and (items.min() < 0 or items.max() > manifest["num_items"]):
        _refuse(folder / layout.HISTORY_ITEMS, f"holds rows outside 0..{manifest['num_items']}")


def check_agreement(bundle: Bundle) -> None:
    """Check sizes, dimensions and ids against the manifest and each other.

    Raises:
        InputError: names the file that does not fit.
    """
    folder, num_items = bundle.folder, bundle.manifest["num_items"]
    dim = bundle.manifest["embedding_dim"]
    index = bundle.index
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
    if bundle.export is not None:
        _check_history_vectors(folder, (num_items + 1, bundle.model.history.dim))


def _check_array(path: Path, array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> None:
    if (str(array.dtype), array.shape) != (dtype, shape):
        _refuse(path, f"expected {dtype} {shape}, found {array.dtype} {array.shape}")


def _check_history_vectors(folder: Path, shape: tuple[int, int]) -> None:
    path = folder / layout.HISTORY_VECTORS
    vectors = read_array(path, mapped=True)
    _check_array(path, vectors, "float32", shape)
    if not np.isfinite(vectors).all() or vectors[0].any():
        _refuse(path, "holds values that are not finite, or not zeros for row 0")


def _refuse(path: Path, problem: str) -> None:
    raise InputError(f"{path}: does not fit the other files: {problem}; {REMEDY}")
