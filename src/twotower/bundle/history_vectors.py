"""The vectors from which history encoders read items.

Shapes: B users, L history positions, n rows, D embedding, H history vector.
"""

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
    """Gather the vectors of history items.

    A history encoder with its own table (`history.items: table`) reads only the items that were trained;
    other encoders read the tower columns of the item embeddings.

    Args:
        model: the trained towers.
        rows: [B, L] item rows, 0 = padding.
        embeddings: returns the embeddings [n, D] of rows [n].

    Returns:
        Vectors [B, L, H], zeros where the mask is False, and the mask [B, L].
    """
    mask: Booleans = rows > 0
    if model.history.config.reads_table:
        trained = model.trained_items.numpy()
        mask &= trained[np.where(rows < len(trained), rows, 0)]  # rows of added items exceed the table
    vectors = np.zeros((*rows.shape, model.history.item_dim), dtype=np.float32)
    if mask.any():
        if model.history.config.reads_table:
            vectors[mask] = model.history_table.weight.detach().numpy()[rows[mask]]
        else:
            vectors[mask] = model.layout.tower(embeddings(rows[mask]))
    return vectors, mask
