"""The vectors from which history encoders read items."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twotower.towers.two_tower import TwoTower

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def gather_history_vectors(
    model: TwoTower, rows: Integers, embeddings: Callable[[Integers], Floats]
) -> tuple[Floats, Booleans]:
    """Return vectors [B, L, H] of history items by rows [B, L], 0 = padding, and the mask of items [B, L].

    A history encoder with its own table (`history.items: table`) reads only the items that were trained;
    other encoders read the tower columns of the item embeddings, which `embeddings` returns for rows [n].
    """
    mask: Booleans = rows > 0
    vectors = np.zeros((*rows.shape, model.history.item_dim), dtype=np.float32)
    if model.history.config.reads_table:
        trained = model.trained_items.numpy()
        mask &= trained[np.where(rows < len(trained), rows, 0)]  # rows of added items exceed the table
        vectors[mask] = model.history_table.weight.detach().numpy()[rows[mask]]
    elif mask.any():
        vectors[mask] = model.layout.tower(embeddings(rows[mask]))
    return vectors, mask
