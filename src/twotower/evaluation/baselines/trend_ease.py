"""EASE with a trend: items that gain popularity score higher."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twotower.config.spec import Days, PositiveFloat
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import BaselineData, TriedValues
from twotower.evaluation.baselines.ease import Ease

MAX_KEPT_SCORES = 2**26  # 256 MiB


class TrendEase(Ease):
    """Score = EASE's score times trend^exponent, trend = (1 + r) / (1 + n).

    n is the number of interactions of the item, r the number in the last `days` before now, scaled to the
    same sum over all items.
    """

    class Config(Ease.Config):
        suggestion = f"{Ease.Config.suggestion} item_bias=trend"
        reads_times = True

        days: Days = 28
        """Length of the window that ends now."""
        exponent: PositiveFloat = 0.75
        """Exponent of the trend; 1 = full effect."""

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return the space of EASE, windows from an hour to the whole log, and exponents."""
            return {
                **super().space(past),
                "days": past.windows(),
                "exponent": TriedValues((0.25, 0.5, 1.0, 1.5)),
            }

    config: Config

    def fit(self, past: BaselineData) -> None:
        """Solve for the item weights and compute the trend of each item."""
        super().fit(past)
        self.past, self.fallback = past, past.popularity.astype(np.float32)  # times the trend
        recent, ever = past.recent_popularity(self.config.days), past.popularity
        share = float(ever.sum()) / max(float(recent.sum()), 1.0)
        trend = (1 + recent * share) / (1 + ever) if recent.any() else np.ones(len(ever))
        self.trend = (trend**self.config.exponent).astype(np.float32)

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return the predicted scores of histories, times the trend."""

        def compute() -> NDArray[np.float32]:
            return super(TrendEase, self).scores(history, users)

        # Tuning keeps the scores without the trend, if they are few.
        if not self.past.is_tuning or history.num_users * len(self.trend) > MAX_KEPT_SCORES:
            return compute() * self.trend
        kind = "ease_scores", users.tobytes()
        return self.past.once(kind, compute, self.fit_settings) * self.trend
