"""Every interaction is an example; old ones may count for less, or not at all."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from annotated_types import Le

from twotower.config.spec import Days, PositiveFloat, PositiveInt
from twotower.data.ages import ages, newer_share_within_user
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source, needs_times
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.objectives.objective import Objective
from twotower.training.objectives.recency import halved


class NextItem(Objective):
    """One example an interaction: its item is the positive, what came before it is the history."""

    class Config(Objective.Config):
        """How an example's age counts."""

        recency_half_life_days: PositiveFloat | None = None
        """An example this much older than the newest one weighs half."""
        recency_half_life_share: PositiveFloat | None = None
        """An example counts half where this share of its user's own interactions comes after it: recency of a
        log with an order and no times."""
        recency: Literal["loss", "sample"] = "loss"
        """How a weight acts: `loss` (all examples are seen and weighted) or `sample` (they are drawn in
        proportion, with replacement; old ones cost no time)."""
        epoch_examples: Annotated[PositiveInt, Le(100_000_000)] | None = None
        """Draws of an epoch with `recency: sample`; null for the effective number of examples, (sum of
        weights)^2 / sum of their squares."""
        max_age_days: Days | None = None
        """Older interactions make no examples (they stay in histories)."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the size of an epoch that sees all examples; see `Config.unused`."""
            if self.epoch_examples is not None and self.recency == "loss":
                yield "epoch_examples", "only objective.recency=sample draws examples"

        def problems(
            self,
            data: Source.Config | None = None,
            history: HistoryEncoder.Config | None = None,
            negatives: NegativeSampler.Config | None = None,
        ) -> list[tuple[str, str]]:
            """Tell whether there are times, where something is to be known of ages."""
            by_age = {
                "recency_half_life_days": self.recency_half_life_days,
                "max_age_days": self.max_age_days,
            }
            return [
                problem
                for key, value in by_age.items()
                if value is not None
                for problem in needs_times(data, f"set objective.{key}=null, or use objective=next_item", key)
            ]

    config: Config

    def weights(self, interactions: Interactions) -> np.ndarray:
        """Halve a weight every half-life, of days and of the user's own line; see `Objective.weights`."""
        config = self.config
        weights = halved(ages(interactions), config.recency_half_life_days, config.max_age_days)
        if config.recency_half_life_share is None:
            return weights
        weights *= halved(newer_share_within_user(interactions), config.recency_half_life_share)
        weights /= weights[weights > 0].mean()
        return weights

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the draws of an epoch with `recency: sample`."""
        if self.config.recency == "loss":
            return None
        drawn = weights[weights > 0].astype(np.float64)
        return self.config.epoch_examples or max(1, round(drawn.sum() ** 2 / (drawn**2).sum()))
