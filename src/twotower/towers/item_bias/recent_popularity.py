"""An item bias that starts from how popular the item was of late."""

import numpy as np

from twotower.config.spec import PositiveFloat
from twotower.data.ages import ages
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source, needs_times
from twotower.towers.item_bias.popularity import Popularity


class RecentPopularity(Popularity):
    """`Popularity`, where old interactions count for less."""

    class Config(Popularity.Config):
        """What counts as recent."""

        half_life_days: PositiveFloat = 7.0
        """An interaction this much older than the newest one counts half."""

        def problems(
            self, data: Source.Config | None = None, learns_temperature: bool | None = None
        ) -> list[tuple[str, str]]:
            """Tell whether there are times."""
            return needs_times(data, "use item_bias=popularity")

    config: Config

    def counted(self, interactions: Interactions) -> np.ndarray:
        """Halve what an interaction counts every half-life."""
        counts: np.ndarray = 0.5 ** (ages(interactions) / self.config.half_life_days)
        return counts
