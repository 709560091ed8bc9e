"""The objective of next-item prediction: every interaction is an example."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Le

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.spec import Days, PositiveFloat, PositiveInt
from twotower.data.interactions import Interactions, ages, newer_share_within_user
from twotower.data.sources.source import Source, needs_times
from twotower.model.negatives.sampler import NegativeSampler
from twotower.training.batches import TrainBatches
from twotower.training.objectives.objective import Objective, halved


class NextItem(Objective):
    """One example per interaction; old ones may have lower weights or be left out."""

    class Config(Objective.Config):
        recency_half_life_days: PositiveFloat | None = None
        """Half-life of the weights, in days before the newest interaction."""
        recency_half_life_share: PositiveFloat | None = None
        """Half-life of the weights, as a share of the user's interactions that are later; for data without
        times."""
        recency: Literal["loss", "sample"] = "loss"
        """`loss` weights the loss of all examples; `sample` draws examples in proportion to their weights,
        with replacement, so that old ones take no time."""
        epoch_examples: Annotated[PositiveInt, Le(100_000_000)] | None = None
        """Draws per epoch with `recency: sample`; null: the effective number of examples, (sum of weights)^2
        / sum of squared weights."""
        max_age_days: Days | None = None
        """Older interactions are no examples, but remain in histories."""
        shuffle_rows: PositiveInt | None = None
        """Shuffle an epoch in a buffer of so many interactions, filled with random blocks of 1,024
        consecutive ones, for logs whose order does not fit into memory; null: a permutation of all."""

        def unused(self) -> Iterator[tuple[str, str]]:
            """Yield the number of draws if nothing is drawn; see `Config.unused`."""
            if self.epoch_examples is not None and self.recency == "loss":
                yield "epoch_examples", "only objective.recency=sample draws examples"

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Refuse ages for data without times, and weights in a buffer."""
            data: Source.Config | None = context.get("data")
            negatives: NegativeSampler.Config | None = context.get("negatives")
            if self.shuffle_rows is not None:
                keys = ("recency_half_life_days", "recency_half_life_share", "max_age_days")
                weighted = [f"objective.{key}" for key in keys if getattr(self, key) is not None]
                weighted += ["objective.recency=sample"] if self.recency == "sample" else []
                if weighted:
                    yield "shuffle_rows", f"needs examples of equal weight; leave out {', '.join(weighted)}"
                if negatives is not None and negatives.max_impressions():
                    yield "shuffle_rows", "impressions without a click are not shuffled in it; set it to null"
            for key in ("recency_half_life_days", "max_age_days"):
                if getattr(self, key) is not None:
                    remedy = f"set objective.{key}=null, or use objective=next_item"
                    yield from needs_times(data, remedy, key)

    config: Config

    def weights(self, interactions: Interactions) -> np.ndarray:
        """Return weights that halve with each half-life; see `Objective.weights`."""
        config = self.config
        weights = np.ones(len(interactions), dtype=np.float32)
        if config.recency_half_life_days is not None or config.max_age_days is not None:
            weights = halved(ages(interactions), config.recency_half_life_days, config.max_age_days)
        if config.recency_half_life_share is None:
            return weights
        weights *= halved(newer_share_within_user(interactions), config.recency_half_life_share)
        weights /= weights[weights > 0].mean()
        return weights

    def batches(self, interactions: Interactions, **settings: Any) -> TrainBatches:
        """Build the batches; for `settings` see `TrainBatches`."""
        rows, size = self.config.shuffle_rows, self.config.batch_size
        if rows is None:
            return super().batches(interactions, **settings)
        return TrainBatches(interactions, size, None, shuffle_rows=rows, **settings)

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the draws per epoch with `recency: sample`."""
        if self.config.recency == "loss":
            return None
        drawn = weights[weights > 0].astype(np.float64)
        return self.config.epoch_examples or max(1, round(drawn.sum() ** 2 / (drawn**2).sum()))
