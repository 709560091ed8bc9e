"""Recent popularity: most interactions in the last days."""

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import Days
from twotower.data.sources.source import Source, needs_times
from twotower.data.times import SECONDS_A_DAY
from twotower.evaluation.baselines.baseline import BaselineData
from twotower.evaluation.baselines.popularity_baseline import PopularityBaseline
from twotower.evaluation.ranking import item_popularity


class RecentPopularityBaseline(PopularityBaseline):
    """Score of an item = its training interactions in the last `days` before now.

    All-time popularity breaks ties, so that with nothing in the window this is plain popularity.
    """

    class Config(PopularityBaseline.Config):
        """Settings of the window."""

        days: Days = 28
        """Length of the window that ends now."""

        def problems(self, key: str = "", data: Source.Config | None = None) -> list[tuple[str, str]]:
            """Require times."""
            return needs_times(data, f"leave it out: '~{key}'")

        def suggestion(self) -> str:
            """Return overrides with an item bias of recent popularity."""
            return "item_bias=trend optimizer.learning_rate=0.001"

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Count the interactions of each item inside the window."""
        recent = recent_counts(past, self.config.days)
        ever = item_popularity(past.train, past.num_items)[1:]
        self.counts = (recent + ever / (ever.max(initial=0) + 1)).astype(np.float32)


def recent_counts(past: BaselineData, days: float) -> NDArray[np.int64]:
    """Return the interactions of each item [N] in the last `days` before now."""
    train = past.train.positives
    inside = (train.times >= past.now - days * SECONDS_A_DAY) & (train.times < past.now)
    return np.bincount(train.items[inside], minlength=past.num_items + 1)[1:]
