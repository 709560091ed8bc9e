"""A user at one moment is an example, and all that is taken then and soon after are its positives."""

from math import isfinite
from typing import Annotated, Any, Literal, Self

import numpy as np
from annotated_types import Ge, Le

from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.data.ages import ages_within_user
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source, needs_times
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.basket_batches import BasketBatches
from twotower.training.objectives.objective import Objective
from twotower.training.objectives.recency import half_life_days, halved

INTERACTIONS_A_REQUEST = 10
FEWEST, MOST = 10_000, 100_000
"""Requests of an epoch, whatever the size of the log."""


class NextBasket(Objective):
    """One example a request: a user, a moment, what came before it, and several positives.

    A user is encoded once for all of them, and each softmax of a user is made once. Users count alike in an
    epoch, however much they take, and what they took lately counts for more.

    When to prefer: shops, where a basket has no order, and logs of a few heavy users; where order tells much
    (films, songs) `sequence` or `next_item` learn more from a user.
    Reference: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section 2.2 (the
    multinomial likelihood of a user's items).
    """

    class Config(Objective.Config):
        """What a request is."""

        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 512
        """B, requests of a batch."""
        recency_half_life_days: PositiveFloat | Literal["auto"] | None = None
        """Of a user's moments one this much older is drawn half as often; null: all alike; auto: a third of
        the half-life with which the log forgets what is popular, long where there is no trend."""
        horizon_days: Annotated[int, Ge(0), Le(36_500)] = 28
        """Positives are what is taken within so many days after the moment; 0: at the moment itself."""
        epoch_requests: Annotated[PositiveInt, Le(100_000_000)] | None = None
        """Of an epoch; null for a tenth of the interactions, 10,000 at least and 100,000 at most."""

        def of_log(self, interactions: Interactions) -> Self:
            """Choose the half-life; see `Objective.Config.of_log`."""
            if self.recency_half_life_days != "auto":
                return self
            days = half_life_days(interactions, self.horizon_days)
            return self.model_copy(update={"recency_half_life_days": days if isfinite(days) else None})

        def problems(
            self,
            data: Source.Config | None = None,
            history: HistoryEncoder.Config | None = None,
            negatives: NegativeSampler.Config | None = None,
        ) -> list[tuple[str, str]]:
            """Tell whether there are times, where that matters; refuse impressions as negatives."""
            by_time = {
                "recency_half_life_days": self.recency_half_life_days,
                "horizon_days": self.horizon_days,
            }
            found = [
                problem
                for key, value in by_time.items()
                if value
                for problem in needs_times(data, "use objective=next_item", key)
            ]
            may_have_impressions = data is None or data.gives_negatives() is not False
            if negatives is not None and negatives.max_impressions() and may_have_impressions:
                text = (
                    "next_basket does not learn from impressions without a click; use objective=next_item, or"
                )
                found.append(("", f"{text} negatives=catalogue"))
            return found

    config: Config

    def weights(self, interactions: Interactions) -> np.ndarray:
        """Halve a weight every half-life of age, counted from the user's newest; see `Objective.weights`.

        An epoch asks users alike, so that only the weights of one user are ever compared.
        """
        days = self.config.of_log(interactions).recency_half_life_days
        assert days != "auto"
        return halved(ages_within_user(interactions), days)

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the requests of an epoch."""
        return self.config.epoch_requests or int(
            np.clip(len(weights) // INTERACTIONS_A_REQUEST, FEWEST, MOST)
        )

    def batches(self, interactions: Interactions, **how: Any) -> BasketBatches:
        """Return batches of requests."""
        return BasketBatches(interactions, self, **how)
