"""Positions in the order of rows, which replace missing times."""

from typing import Any

import numpy as np
import pandas as pd

ORDER_SEED = 0


def row_positions(parts: "pd.Series[Any] | None", num_rows: int, ordered: bool) -> "np.ndarray":
    """Return the position of each row, int64 [num_rows] from 1.

    Rows without an order get a fixed random order, train before valid before test.

    Args:
        parts: "train", "valid" or "test" of each row; None without a split column.
        num_rows: n.
        ordered: whether rows are in the order of time.
    """
    if ordered:
        return np.arange(1, num_rows + 1, dtype=np.int64)
    drawn = np.random.default_rng(ORDER_SEED).permutation(num_rows)
    codes = np.zeros(num_rows) if parts is None else parts.map({"train": 0, "valid": 1, "test": 2}).to_numpy()
    places = np.empty(num_rows, dtype=np.int64)
    places[np.lexsort((drawn, codes))] = np.arange(1, num_rows + 1)
    return places
