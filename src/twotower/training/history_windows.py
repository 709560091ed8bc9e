"""Histories of examples as windows of a column, without computing or gathering positions.

Shapes: n interactions, P positions, L history length.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class HistoryWindows:
    """The last L values of a column before any position.

    Row p of a sliding window over the column is column[p:p + L], so that a history is one copy of contiguous
    values.

    Args:
        column: [n], may be memory-mapped; a column shorter than L is copied.
        length: L, at least 1.
    """

    def __init__(self, column: np.ndarray, length: int) -> None:
        column = np.asarray(column)  # a plain view is faster than a memory map
        self.num_missing = max(0, length - len(column))
        if self.num_missing:
            column = np.concatenate([np.zeros(self.num_missing, column.dtype), column])
        self.column, self.length = column, length
        self.rows = sliding_window_view(column, length)

    def before(self, ends: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the values before each position, [P, l], right-aligned, 0 where masked.

        Args:
            ends: [P] positions.
            mask: bool [P, l], l <= L, False at padding.
        """
        starts = ends.astype(np.int64) + (self.num_missing - self.length)
        skipped = self.length - mask.shape[1]
        values: np.ndarray = self.rows[np.maximum(starts, 0), skipped:]
        for row in np.flatnonzero(starts < 0):  # positions near the begin of the column
            whole = np.zeros(self.length, values.dtype)
            whole[-starts[row] :] = self.column[: starts[row] + self.length]
            values[row] = whole[skipped:]
        values *= mask
        return values


def history_mask(ends: np.ndarray, begins: np.ndarray, length: int) -> np.ndarray:
    """Return which of the `length` positions before each end [P] are at or after its begin [P]."""
    mask: np.ndarray = np.arange(length, 0, -1) <= (ends - begins)[:, None]
    return mask
