"""Recent popularity: most interactions in the last days."""

from collections.abc import Mapping

import numpy as np

from twotower.config.spec import Days
from twotower.evaluation.baselines.baseline import BaselineData, TriedValues
from twotower.evaluation.baselines.popularity_baseline import PopularityBaseline


class RecentPopularityBaseline(PopularityBaseline):
    """Score of an item = its training interactions in the last `days` before now.

    All-time popularity breaks ties, so that with nothing in the window this is plain popularity.
    """

    class Config(PopularityBaseline.Config):
        suggestion = "item_bias=trend optimizer.learning_rate=0.001"
        reads_times = True

        days: Days = 28
        """Length of the window that ends now."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return windows from an hour to the whole log."""
            return {"days": past.windows()}

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Count the interactions of each item inside the window."""
        recent, ever = past.recent_popularity(self.config.days), past.popularity
        self.counts = (recent + ever / (ever.max(initial=0) + 1)).astype(np.float32)
