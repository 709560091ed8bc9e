"""What stands for the times of interactions that have none: their places in the order of rows."""

from typing import Any

import numpy as np
import pandas as pd

ORDER_SEED = 0


def row_positions(parts: "pd.Series[Any] | None", num_rows: int, ordered: bool) -> "np.ndarray":
    """Return the place of each row, int64 [num_rows] from 1.

    Rows without an order are given one that is drawn, always the same: those that train first, then valid,
    then test, so that what is predicted comes last.

    Args:
        parts: the words train, valid and test of the rows; None where there are none.
        num_rows: n.
        ordered: whether the order of rows means anything.
    """
    if ordered:
        return np.arange(1, num_rows + 1, dtype=np.int64)
    drawn = np.random.default_rng(ORDER_SEED).permutation(num_rows)
    codes = np.zeros(num_rows) if parts is None else parts.map({"train": 0, "valid": 1, "test": 2}).to_numpy()
    places = np.empty(num_rows, dtype=np.int64)
    places[np.lexsort((drawn, codes))] = np.arange(1, num_rows + 1)
    return places
