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
    def measure(cls, parts: Sequence[Interactions], rows: NDArray[np.int64], of_users: bool) -> "Activity":
        """Return the activity of user rows or of item rows [n], each in some part."""
        size = int(rows.max(initial=0)) + 1
        counts, last = np.zeros(size, dtype=np.int64), np.full(size, -np.inf)
        for part in parts:
            entities = part.user_rows() if of_users else part.items
            counts += np.bincount(entities, minlength=size)
            np.maximum.at(last, entities, np.asarray(part.times, dtype=np.float64))
        return cls(counts[rows], (last.max() - last[rows]) / SECONDS_A_DAY)
