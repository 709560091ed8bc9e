"""Content neighbors: items with features similar to the history items."""

import numpy as np
from numpy.typing import NDArray

from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData
from twotower.evaluation.baselines.popularity_baseline import popular_last
from twotower.evaluation.item_content import content_scores


class ContentKnn(Baseline):
    """Score = cosine of an item's content (`item_content`) with the mean content of the user's items.

    Users without a history get popularity, and so do items without any similarity. It is the only baseline
    that recommends items without interactions.
    """

    class Config(Baseline.Config):
        suggestion = "new_items=by_content new_items.boost=0.5"
        reads_content = True

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Store the content."""
        assert past.content is not None
        self.fallback = past.fallback
        self.content = past.content.astype(np.float32)

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the cosines times the length of the mean, which gives the same ranking."""
        return popular_last(content_scores(self.content, history, users), self.fallback)
