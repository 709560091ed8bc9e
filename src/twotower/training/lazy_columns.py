"""Columns of training examples that are computed for the examples of a batch, not for all.

An example is an interaction, and its position in the interactions is its index. Shapes: P positions.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LazyColumn(Protocol):
    """Values of examples: an array, or an object that computes them."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """Return the values at positions [P]."""


class Positions:
    """The position itself: where the history of a target ends."""

    def __getitem__(self, positions: np.ndarray, /) -> np.ndarray:
        """Return the values at positions [P]."""
        return positions


class UserRows:
    """The user row of each interaction.

    Args:
        offsets: see `Interactions`.
    """

    def __init__(self, offsets: np.ndarray) -> None:
        self.offsets = offsets

    def __getitem__(self, positions: np.ndarray, /) -> NDArray[np.int32]:
        """Return the values at positions [P]."""
        return (np.searchsorted(self.offsets, positions, side="right") - 1).astype(np.int32)


class StrictEnds:
    """The first position with the same user and time: where a history of strictly earlier items ends.

    Args:
        offsets: see `Interactions`, with `times`.
    """

    def __init__(self, offsets: np.ndarray, times: np.ndarray) -> None:
        self.users, self.offsets, self.times = UserRows(offsets), offsets, times

    def __getitem__(self, positions: np.ndarray, /) -> NDArray[np.int64]:
        """Return the values at positions [P]."""
        begins = self.offsets[self.users[positions]]
        return first_since(lambda middle: self.times[middle], self.times[positions], begins, positions)


def first_since(
    column: Callable[[np.ndarray], np.ndarray], times: np.ndarray, low: np.ndarray, high: np.ndarray
) -> NDArray[np.int64]:
    """Bisect for the first position from low to high [P] that is not earlier than times [P].

    Args:
        column: returns the times at positions; those from low to high ascend.
    """
    low, high = low.astype(np.int64), high.astype(np.int64)
    while len(left := np.flatnonzero(low < high)):
        middle = (low[left] + high[left]) // 2
        is_earlier = column(middle) < times[left]
        low[left[is_earlier]] = middle[is_earlier] + 1
        high[left[~is_earlier]] = middle[~is_earlier]
    return low
