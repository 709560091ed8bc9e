"""Columns of training examples that are computed for the examples of a batch, not for all.

An example is an interaction, and its position in the interactions is its index. Shapes: P positions.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


class LazyColumn:
    """A column whose values are computed where they are read.

    Args:
        compute: returns the values at positions [P].
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray]) -> None:
        self.compute = compute

    def __getitem__(self, positions: np.ndarray) -> np.ndarray:
        """Return the values at positions [P]."""
        return self.compute(positions)


def first_since(
    column: np.ndarray | LazyColumn, times: np.ndarray, low: np.ndarray, high: np.ndarray
) -> NDArray[np.int64]:
    """Bisect for the first position from low to high [P] that is not earlier than times [P].

    Args:
        column: times; those from low to high ascend.
    """
    low, high = low.astype(np.int64), high.astype(np.int64)
    while len(left := np.flatnonzero(low < high)):
        middle = (low[left] + high[left]) // 2
        is_earlier = column[middle] < times[left]
        low[left[is_earlier]] = middle[is_earlier] + 1
        high[left[~is_earlier]] = middle[~is_earlier]
    return low
