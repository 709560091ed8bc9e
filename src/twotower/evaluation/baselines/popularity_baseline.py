"""Popularity: everybody is shown the same, the most taken items."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData
from twotower.evaluation.ranking import item_popularity


class PopularityBaseline(Baseline):
    """Score of an item = its train interactions."""

    class Config(Baseline.Config):
        """Nothing to set."""

        def suggestion(self) -> str:
            """Return what knows of popularity."""
            return "item_bias=popularity"

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Count the interactions of each item."""
        self.counts = item_popularity(past.train, past.num_items)[1:].astype(np.float32)

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the same scores for every user."""
        return np.tile(self.counts, (len(users), 1))


def popular_last(scores: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores [B, N]; those that are not above 0 become less, in order of popularity [N]."""
    found: NDArray[np.float32] = np.where(scores > 0, scores, counts / (counts.max(initial=0) + 1) - 1)
    return found
