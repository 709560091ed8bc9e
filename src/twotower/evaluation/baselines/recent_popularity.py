"""Recent popularity: what was taken most in the last days."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import Days
from twotower.data.history import History
from twotower.evaluation.baselines.baseline import Baseline
from twotower.evaluation.ranking import item_popularity

DAY_SECONDS = 86_400


class RecentPopularity(Baseline):
    """Score of an item = its train interactions in the last `days` before now.

    All-time popularity breaks ties, so that with nothing in the window this is plain popularity.

    Args:
        days: length of the window that ends now.
    """

    def __init__(self, *, days: Days = 28) -> None:
        self.days = days

    def fit(self, train: History, num_items: int, now: int) -> None:
        """Count the interactions of each item inside the window."""
        inside = (train.times >= now - self.days * DAY_SECONDS) & (train.times < now)
        recent = np.bincount(train.items[inside], minlength=num_items + 1)[1:]
        ever = item_popularity(train, num_items)[1:]
        self.counts = (recent + ever / (ever.max(initial=0) + 1)).astype(np.float32)

    def scores(self, history: History, users: np.ndarray) -> NDArray[np.float32]:
        """Return the same scores for every user."""
        return np.tile(self.counts, (len(users), 1))
