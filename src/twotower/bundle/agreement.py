"""Files that are each whole must also belong together: sizes, dimensions and ids agree."""

import numpy as np

from twotower.bundle import layout
from twotower.bundle.bundle import Bundle
from twotower.bundle.manifest import REMEDY
from twotower.data.history import History
from twotower.errors import InputError


def check_agreement(bundle: Bundle) -> None:
    """Check sizes, dimensions and ids against the manifest and each other.

    Raises:
        InputError: names the file that does not fit.
    """
    num_items, num_users = bundle.manifest["num_items"], bundle.manifest["num_users"]
    dim = bundle.manifest["embedding_dim"]
    model, index = bundle.model, bundle.index
    for name, what, found, expected in (
        (layout.CONFIG, "embedding_dim", bundle.settings["embedding_dim"], dim),
        (layout.USERS, "users", len(bundle.users), num_users),
        (layout.ITEMS, "items", len(bundle.items), num_items),
        (layout.ENCODED, "users", _num_encoded(model.users, num_users), num_users),
        (layout.ENCODED, "items", _num_encoded(model.items, num_items), num_items),
        (layout.TOWERS, "trained_items", len(model.trained_items), num_items + 1),
        (layout.ITEM_VECTORS, "shape", bundle.item_vectors.shape, (num_items, dim)),
        (layout.ITEM_VECTORS, "type", str(bundle.item_vectors.dtype), "float32"),
        (layout.INDEX, "dimension", index.dim, dim),
        (layout.INDEX, "vectors", index.num_vectors, num_items),
        (layout.INDEX, "metric", index.metric, "inner_product"),
        (layout.HISTORY_OFFSETS, "users", bundle.history.num_users, num_users),
    ):
        if found != expected:
            _refuse(bundle, name, f"{what}: expected {expected}, found {found}")
    if not np.array_equal(index.rows, np.arange(1, num_items + 1)):
        _refuse(bundle, layout.INDEX, f"its ids are not the rows 1..{num_items}")
    if not np.isfinite(bundle.item_vectors).all():
        _refuse(bundle, layout.ITEM_VECTORS, "holds values that are not finite")
    _check_history(bundle, bundle.history, num_items)
    if bundle.export is not None:
        _check_history_vectors(bundle, (num_items + 1, bundle.model.history.dim))


def _num_encoded(table: object, num_rows: int) -> int:
    """Return the rows of the encoded features without row 0; all that is asked for where there are none."""
    sizes = {len(values) - 1 for values in table.buffers(recurse=False)}  # type: ignore[attr-defined]
    return sizes.pop() if len(sizes) == 1 else (num_rows if not sizes else -1)


def _check_history(bundle: Bundle, history: History, num_items: int) -> None:
    offsets = history.offsets
    if int(offsets[0]) != 0 or (np.diff(offsets) < 0).any() or int(offsets[-1]) != len(history.items):
        _refuse(bundle, layout.HISTORY_OFFSETS, f"does not divide the {len(history.items)} history items")
    if len(history.times) != len(history.items):
        _refuse(bundle, layout.HISTORY_TIMES, f"{len(history.times)} times for {len(history.items)} items")
    items = np.asarray(history.items)
    if len(items) and (items.min() < 0 or items.max() > num_items):
        _refuse(bundle, layout.HISTORY_ITEMS, f"holds rows outside 0..{num_items}")


def _check_history_vectors(bundle: Bundle, shape: tuple[int, int]) -> None:
    name = layout.HISTORY_VECTORS
    try:
        vectors = np.load(bundle.folder / name, allow_pickle=False, mmap_mode="r")
    except ValueError as error:
        raise InputError(f"{bundle.folder / name}: not a plain numpy array ({error})") from error
    if (vectors.shape, str(vectors.dtype)) != (shape, "float32"):
        _refuse(bundle, name, f"expected float32 {shape}, found {vectors.dtype} {vectors.shape}")
    if not np.isfinite(vectors).all() or vectors[0].any():
        _refuse(bundle, name, "holds values that are not finite, or not zeros for row 0")


def _refuse(bundle: Bundle, name: str, problem: str) -> None:
    raise InputError(f"{bundle.folder / name}: does not fit the other files: {problem}; {REMEDY}")
