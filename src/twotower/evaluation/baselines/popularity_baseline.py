"""Popularity: the same items for all users, most interactions first."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData


class PopularityBaseline(Baseline):
    """Score of an item = its number of training interactions."""

    class Config(Baseline.Config):
        suggestion = "item_bias=popularity"

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Count the interactions of each item."""
        self.counts = past.popularity.astype(np.float32)

    def shared_scores(self) -> NDArray[np.float32] | None:
        """Return the counts."""
        return self.counts

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the same scores for every user."""
        return np.tile(self.counts, (len(users), 1))


def popular_last(scores: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores [B, N], with those that are not above 0 replaced by popularity [N], below all others."""
    return np.where(scores > 0, scores, counts / (counts.max(initial=0) + 1) - 1)
