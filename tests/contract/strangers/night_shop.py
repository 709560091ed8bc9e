"""A data set of somebody else's: a shop at night, where everybody comes back for what stands beside."""

import numpy as np
import pandas as pd

from twotower.config.spec import PositiveInt, Seed
from twotower.data.sources.source import Source
from twotower.data.tables import Tables


class NightShop(Source):
    """Purchases of customers who walk along a shelf, a step a night."""

    class Config(Source.Config):
        """How many, and which."""

        customers: PositiveInt = 200
        nights: PositiveInt = 100
        seed: Seed = 0

    config: Config

    def load(self) -> Tables:
        customers, nights = self.config.customers, self.config.nights
        steps = np.random.default_rng(self.config.seed).integers(0, 3, (customers, nights)).cumsum(1)
        return Tables(
            pd.DataFrame(
                {
                    "user_id": np.repeat(np.arange(customers), nights),
                    "item_id": [f"shelf {place % 150}" for place in steps.ravel()],
                    "timestamp": np.tile(1_700_000_000 + 86_400 * np.arange(nights), customers),
                }
            )
        )
