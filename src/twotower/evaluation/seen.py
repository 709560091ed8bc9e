"""The seen filter: what a user already has is not recommended."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.history import History
from twotower.evaluation.top_k import Pairs


def seen_pairs(history: History, users: np.ndarray) -> Pairs:
    """Return (position in `users`, item row) of everything these users have in their history.

    Positions ascend; an item a user had twice appears twice.
    """
    positions, rows = history.flat(users)
    known = rows > 0
    return positions[known].astype(np.int64), rows[known].astype(np.int64)


def without_seen(rows: np.ndarray, exclude: Pairs, num_items: int, k: int) -> NDArray[np.int64]:
    """Return the first k allowed items of longer lists, as an approximate index gives them.

    Args:
        rows: [Q, M] item rows, best first, 0 or -1 = no item; M should exceed k by the items excluded.
        exclude: items to drop.
        num_items: N.
        k: places to keep.

    Returns:
        int64 [Q, k]; 0 where fewer than k were left.
    """
    listed = np.maximum(rows, 0).astype(np.int64)
    queries = np.arange(len(listed), dtype=np.int64)[:, None]
    dropped = contains(np.sort(pair_keys(*exclude, num_items)), pair_keys(queries, listed, num_items))
    listed[dropped] = 0
    order = np.argsort(listed == 0, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(listed, order, axis=1)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])))


def pair_keys(queries: np.ndarray, rows: np.ndarray, num_items: int) -> NDArray[np.int64]:
    """Return one integer per (user position, item row), ordered by user and then by row."""
    keys: NDArray[np.int64] = queries.astype(np.int64) * (num_items + 1) + rows
    return keys


def contains(ordered: np.ndarray, keys: np.ndarray) -> NDArray[np.bool_]:
    """Return which of `keys` (any shape) are in the ascending array `ordered`."""
    if not len(ordered):
        return np.zeros(keys.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, keys.ravel()), len(ordered) - 1)
    found: NDArray[np.bool_] = (ordered[places] == keys.ravel()).reshape(keys.shape)
    return found
