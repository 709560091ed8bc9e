"""Popularity: everybody is shown the same, the most taken items."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.history import History
from twotower.evaluation.baselines.baseline import Baseline
from twotower.evaluation.ranking import item_popularity


class Popularity(Baseline):
    """Score of an item = its train interactions."""

    def fit(self, train: History, num_items: int, now: int) -> None:
        """Count the interactions of each item."""
        self.counts = item_popularity(train, num_items)[1:].astype(np.float32)

    def scores(self, history: History, users: np.ndarray) -> NDArray[np.float32]:
        """Return the same scores for every user."""
        return np.tile(self.counts, (len(users), 1))
