"""The vectors from which history encoders read items."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twotower.towers.two_tower import TwoTower

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


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
    padding = np.zeros((1, model.history.item_dim), dtype=np.float32)
    vectors = np.concatenate([padding, tower_outputs(rows[is_item])])
    positions = np.zeros_like(rows)
    positions[is_item] = np.arange(1, len(vectors))
    return vectors, positions
