"""Recent popularity: what was taken most in the last days."""

import numpy as np

from twotower.config.facts import Facts
from twotower.config.spec import Days
from twotower.data.history import History
from twotower.evaluation.baselines.popularity import Popularity
from twotower.evaluation.ranking import item_popularity

DAY_SECONDS = 86_400


class RecentPopularity(Popularity):
    """Score of an item = its train interactions in the last `days` before now.

    All-time popularity breaks ties, so that with nothing in the window this is plain popularity.
    """

    class Config(Popularity.Config):
        """Settings of the window."""

        days: Days = 28
        """Length of the window that ends now."""

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
            """Tell whether there are times."""
            return facts.lacks_times("", f"leave it out: '~{facts.key}'")

    config: Config

    def fit(self, train: History, num_items: int, now: int) -> None:
        """Count the interactions of each item inside the window."""
        train = train.positives
        inside = (train.times >= now - self.config.days * DAY_SECONDS) & (train.times < now)
        recent = np.bincount(train.items[inside], minlength=num_items + 1)[1:]
        ever = item_popularity(train, num_items)[1:]
        self.counts = (recent + ever / (ever.max(initial=0) + 1)).astype(np.float32)
