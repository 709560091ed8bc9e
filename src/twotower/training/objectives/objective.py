"""What every objective says of a log: which interactions are examples, and how much each counts."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Le
from torch import Tensor

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt
from twotower.data.interactions import Interactions
from twotower.data.sources.source import Source
from twotower.negatives.sampler import NegativeSampler
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.training.batches import TrainBatches
from twotower.training.examples import time_order


class Objective(Component, ABC):
    """Which interactions of a log are examples: the item is the positive, what came before is the history.

    Args:
        config: the choice.
    """

    class Config(Component.Config):
        """Settings of every objective."""

        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 1024
        """P, examples of a batch."""

        def problems(
            self,
            data: Source.Config | None = None,
            history: HistoryEncoder.Config | None = None,
            negatives: NegativeSampler.Config | None = None,
        ) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`.

            Args:
                data: what the run reads.
                history: the encoder of histories.
                negatives: the sampler.
            """
            return ()

        def build(self) -> "Objective":
            """Build the objective."""
            return self.make(Objective)

        def of_log(self, interactions: Interactions) -> Self:
            """Return the settings with what a log decides of them; here nothing."""
            return self

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def weights(self, interactions: Interactions) -> np.ndarray:
        """Return each interaction's weight as an example, [n] float32: 0 = none, 1 on average."""

    def example_weights(self, interactions: Interactions, labelled: bool = False) -> np.ndarray:
        """Return `weights` times each interaction's own weight, float32, 1 on average; 0 = no example.

        Args:
            interactions: of n interactions; what is there for histories only is no example.
            labelled: the m impressions without a click are examples too: [n + m], weighted together with the
                others, in the order of time.
        """
        if not labelled or interactions.impressions is None:
            return _scaled(self.weights(interactions), interactions.example_weights)
        order = time_order(interactions, interactions.impressions)
        users, items, times = (
            np.concatenate(pair)
            for pair in (
                (interactions.user_rows(), interactions.impressions.user_rows()),
                (interactions.items, interactions.impressions.items),
                (interactions.times, interactions.impressions.times),
            )
        )
        joined = Interactions.from_rows(users[order], items[order], times[order], interactions.num_users)
        weights = np.empty(len(joined), dtype=np.float32)
        weights[order] = self.weights(joined)
        own = [part.example_weights for part in (interactions, interactions.impressions)]
        if all(each is None for each in own):
            return weights
        parts = zip(own, (interactions, interactions.impressions), strict=True)
        return _scaled(
            weights, np.concatenate([np.ones(len(part)) if own is None else own for own, part in parts])
        )

    def batches(self, interactions: Interactions, **how: Any) -> TrainBatches:
        """Return the batches of a log; the rest is said as to `TrainBatches`."""
        return TrainBatches(interactions, self, **how)

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return how many examples an epoch draws in proportion to their weights, with replacement.

        None, the default: an epoch has every example once, and the loss weighs them.
        """
        return None

    def frequencies(
        self, interactions: Interactions, num_items: int, shares: np.ndarray | None = None
    ) -> Tensor:
        """Return the probability with which each item row is an example's positive, [num_items + 1].

        Where an epoch has every example once, its weight changes how much it counts, not how often it comes.

        Args:
            interactions: of the examples.
            num_items: N.
            shares: [n] how often an epoch has an example where it would have it once; None for once.
        """
        weights = self.example_weights(interactions)
        drawn = (weights > 0) if self.num_draws(weights) is None else weights
        drawn = drawn if shares is None else drawn * shares
        counts = np.bincount(interactions.items, weights=drawn, minlength=num_items + 1)
        return torch.from_numpy((counts / counts.sum()).astype(np.float32))


def _scaled(weights: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    if own is None:
        return weights
    product = weights.astype(np.float64) * own
    if not (product > 0).any():
        raise InputError(
            "data: no example of the training is left: all weights are 0, or of what is too old; look at the "
            "column `weight`, data.events and the objective"
        )
    scaled: np.ndarray = (product / product[product > 0].mean()).astype(np.float32)
    return scaled
