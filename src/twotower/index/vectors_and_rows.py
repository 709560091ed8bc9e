"""Turn what callers hand over into what Faiss takes, or say what is wrong with it."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError


def as_vectors(vectors: np.ndarray, name: str, dim: int | None = None) -> np.ndarray:
    """Return vectors as C-contiguous float32 [N, D]; the input itself where it already is.

    Raises:
        InputError: not two-dimensional, another dimension, or values that are not finite in float32.
    """
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(f"{name}: expected an array [number, dim], got shape {vectors.shape}")
    if dim is not None and vectors.shape[1] != dim:
        raise InputError(f"{name}: dimension {vectors.shape[1]}, but the index has dimension {dim}")
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(converted)
    if not finite.all():
        position, column = np.argwhere(~finite)[0]
        raise InputError(
            f"{name}: value {vectors[position, column]} at position {position}, column {column} is not finite"
            " in float32; training has probably diverged"
        )
    return converted


def as_rows(rows: np.ndarray, num_vectors: int) -> np.ndarray:
    """Return rows as int64 [N].

    Raises:
        InputError: not one per vector, not integers, negative or repeated.
    """
    if rows.shape != (num_vectors,) or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"rows: expected {num_vectors} integers, one per vector, got {rows.dtype} of shape {rows.shape}"
        )
    converted = np.ascontiguousarray(rows, dtype=np.int64)
    if num_vectors and converted.min() < 0:
        raise InputError(f"rows: {converted.min()} is negative; -1 means `no item` in results")
    values, counts = np.unique(converted, return_counts=True)
    if len(values) < num_vectors:
        raise InputError(f"rows: {values[counts > 1][0]} is given more than once; a row holds one vector")
    return converted


def contains(ordered: np.ndarray, values: np.ndarray) -> NDArray[np.bool_]:
    """Return which of some values (any shape) are in an ascending array; quick for few in a large one."""
    if not len(ordered):
        return np.zeros(values.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[places] == values)
