"""An item bias that starts from recent popularity."""

import numpy as np

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import PositiveFloat
from twotower.data.interactions import Interactions, ages
from twotower.data.sources.source import needs_times
from twotower.model.towers.item_bias.popularity import Popularity


class RecentPopularity(Popularity):
    """`Popularity` with decayed counts: old interactions have lower weights."""

    class Config(Popularity.Config):
        half_life_days: PositiveFloat = 7.0
        """Half-life of the weights, in days before the newest interaction."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> list[tuple[str, str]]:
            """Refuse data without times."""
            return needs_times(context.get("data"), "use item_bias=popularity")

    config: Config

    def count_weights(self, interactions: Interactions) -> np.ndarray:
        """Return weights that halve with each half-life, [n]."""
        weights: np.ndarray = 0.5 ** (ages(interactions) / self.config.half_life_days)
        return weights
