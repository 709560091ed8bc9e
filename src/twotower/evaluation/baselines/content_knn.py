"""Content neighbors: items with features like those of the history."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData
from twotower.evaluation.baselines.popularity_baseline import popular_last
from twotower.evaluation.ranking import interaction_matrix


class ContentKnn(Baseline):
    """Score = the cosine of an item's content (`item_content`) with the mean of that of the user's items.

    Users without a history get popularity, and so do items without any similarity. It is the only baseline
    that recommends items without interactions.
    """

    class Config(Baseline.Config):
        """No settings."""

        suggestion = "new_items=by_content new_items.boost=0.5"
        reads_content = True

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Store the content."""
        assert past.content is not None
        self.counts = past.popularity.astype(np.float32)
        self.content = past.content.astype(np.float32)

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the cosines times the length of the mean, which gives the same ranking."""
        # A product with a dense matrix of the users' components is faster than a product of two sparse ones.
        wanted = interaction_matrix(history, users, len(self.counts)) @ self.content
        components = np.unique(wanted.indices)
        dense = wanted[:, components].T.toarray()
        scores: NDArray[np.float32] = np.ascontiguousarray((self.content[:, components] @ dense).T)
        return popular_last(scores, self.counts)
