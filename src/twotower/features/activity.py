"""How often and how recently users or items occur in the training data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.data.times import SECONDS_A_DAY


class Activity(NamedTuple):
    """The activity of entities [n].

    Attributes:
        counts: number of interactions.
        ages: days from the last interaction of each to the last one of all.
    """

    counts: NDArray[np.int64]
    ages: NDArray[np.float64]

    @classmethod
    def users(cls, parts: Sequence[Interactions], rows: NDArray[np.int64]) -> "Activity":
        """Return the activity of user rows [n], each in some part."""
        return cls._measure([(part.user_rows(), part.times) for part in parts], rows)

    @classmethod
    def items(cls, parts: Sequence[Interactions], rows: NDArray[np.int64]) -> "Activity":
        """Return the activity of item rows [n], each in some part."""
        return cls._measure([(part.items, part.times) for part in parts], rows)

    @classmethod
    def _measure(cls, parts: Sequence[tuple[np.ndarray, np.ndarray]], rows: NDArray[np.int64]) -> "Activity":
        size = int(rows.max(initial=0)) + 1
        counts, last = np.zeros(size, dtype=np.int64), np.zeros(size)
        last[:] = -np.inf
        for entities, times in parts:
            counts += np.bincount(entities, minlength=size)
            np.maximum.at(last, entities, np.asarray(times, dtype=np.float64))
        return cls(counts[rows], (last.max() - last[rows]) / SECONDS_A_DAY)
