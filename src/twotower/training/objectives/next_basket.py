"""The objective of next-basket prediction: a user at one time, and the items of the following days."""

import logging
from math import isfinite
from typing import Annotated, Any, Literal, Self

import numpy as np
from annotated_types import Ge, Le

from twotower.config.spec import PositiveFloat, PositiveInt
from twotower.data.interactions import Interactions, ages_within_user
from twotower.data.sources.source import Source, needs_times
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.item_bias.decayed_shares import IntervalCounts, Mixture
from twotower.training.basket_batches import BasketBatches
from twotower.training.objectives.objective import Objective, halved

LOG = logging.getLogger("twotower")
SHARE = 1 / 3
"""Half-life of the weights relative to that of popularity, chosen by `scripts/bench/carry_over.py`."""
INTERACTIONS_PER_REQUEST = 10
FEWEST, MOST = 10_000, 100_000
"""Limits of the requests per epoch."""


class NextBasket(Objective):
    """One example per request: a user, a time, the history before it, and several positives after it.

    A user is encoded once for all positives of a request. All users have equally many requests per epoch, and
    recent interactions have higher weights.

    Prefer it for shops, where the items of a basket have no order, and for data with a few heavy users. If
    the order is informative (films, songs), `sequence` or `next_item` learn more from a user.
    Reference: Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018, section 2.2 (the
    multinomial likelihood of a user's items).
    """

    class Config(Objective.Config):
        """Requests and their positives."""

        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 512
        """B, requests per batch."""
        recency_half_life_days: PositiveFloat | Literal["auto"] | None = None
        """Half-life of the probability that a request time is drawn, per user; null: none; auto: a third of
        the half-life of popularity, which is long without a trend."""
        horizon_days: Annotated[int, Ge(0), Le(36_500)] = 28
        """Positives are interactions within this many days after the request time; 0: at the same second."""
        epoch_requests: Annotated[PositiveInt, Le(100_000_000)] | None = None
        """Requests per epoch; null: a tenth of the interactions, at least 10,000 and at most 100,000."""

        def resolve(self, interactions: Interactions) -> Self:
            """Return the settings with the half-life; see `Objective.Config.resolve`."""
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
            """Refuse data without times, and impressions as negatives."""
            by_time = {
                "recency_half_life_days": self.recency_half_life_days,
                "horizon_days": self.horizon_days,
            }
            problems = [
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
                problems.append(("", f"{text} negatives=catalogue"))
            return problems

    config: Config

    def weights(self, interactions: Interactions) -> np.ndarray:
        """Return weights that halve with each half-life before the newest interaction of the user.

        See `Objective.weights`. Only the weights of one user are compared with each other.
        """
        days = self.config.resolve(interactions).recency_half_life_days
        assert days != "auto"
        return halved(ages_within_user(interactions), days)

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the number of requests per epoch."""
        return self.config.epoch_requests or int(
            np.clip(len(weights) // INTERACTIONS_PER_REQUEST, FEWEST, MOST)
        )

    def batches(self, interactions: Interactions, **settings: Any) -> BasketBatches:
        """Build batches of requests; for `settings` see `TrainBatches`."""
        return BasketBatches(interactions, self, **settings)


def half_life_days(interactions: Interactions, ahead_days: float) -> float:
    """Return a half-life for training examples, in days: a third of the half-life of popularity.

    The latter is that of the mixture that best predicts later interactions; see `Mixture.half_life`. It is
    short if demand changes fast, and infinite if it does not change.

    Args:
        ahead_days: how far ahead the mixture predicts.
    """
    interactions = interactions.positives
    items, times = np.asarray(interactions.items), np.asarray(interactions.times)
    counted = IntervalCounts.from_log(items, times, int(items.max(initial=1)))
    days = SHARE * Mixture.fit(counted, ahead_days).half_life(counted) * counted.interval_days
    LOG.info("objective.recency_half_life_days=%.3g, from the half-life of popularity", days)
    return days
