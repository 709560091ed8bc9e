"""The base class of objectives: which interactions are examples, and their weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from annotated_types import Le
from numpy.typing import NDArray
from torch import Tensor

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt
from twotower.data.blocks import blocks
from twotower.data.interactions import Interactions, time_order
from twotower.data.times import MAX_HORIZON_DAYS
from twotower.training.batches import TrainBatches


class Objective(Component, ABC):
    """Selects and weights the training examples: the item is the positive, earlier items are the history."""

    class Config(Component.Config):
        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 1024
        """P, examples per batch."""
        reads_every_position: ClassVar[bool] = False
        """Whether examples share a history and read its summary at their positions."""

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            return ()

        def build(self) -> "Objective":
            """Build the objective."""
            return self.make(Objective)

        def resolve(self, interactions: Interactions, horizon_days: int = MAX_HORIZON_DAYS) -> Self:
            """Return the settings with the values that the data determines; here unchanged.

            Args:
                interactions: of training.
                horizon_days: see `RetrievalDataset.horizon_days`.
            """
            return self

    config: Config

    @abstractmethod
    def weights(self, interactions: Interactions) -> np.ndarray:
        """Return the weight of each interaction as an example, float32 [n]; 0 = none, 1 on average."""

    def example_weights(self, interactions: Interactions, with_impressions: bool = False) -> np.ndarray:
        """Return `weights` times the weights in the data, float32 [n], 1 on average; 0 = no example.

        Args:
            interactions: n interactions; interactions of the role `history` are no examples.
            with_impressions: return also the weights of the m impressions without a click, [n + m]; `weights`
                is computed for both in one log.

        Raises:
            InputError: all weights are 0.
        """
        parts = [interactions]
        if with_impressions and interactions.impressions is not None:
            parts.append(interactions.impressions)
            order = time_order(*parts)
            columns = ((part.user_rows(), part.items, part.times) for part in parts)
            users, items, times = (np.concatenate(each)[order] for each in zip(*columns, strict=True))
            weights = np.empty(sum(map(len, parts)), dtype=np.float32)
            joined = Interactions.from_rows(users, items, times, interactions.num_users)
            weights[order] = self.weights(joined)
        else:
            weights = self.weights(interactions)
        own = [part.example_weights for part in parts]
        if all(each is None for each in own):
            return weights
        data_weights = np.concatenate(
            [np.ones(len(part)) if each is None else each for part, each in zip(parts, own, strict=True)]
        )
        product = weights.astype(np.float64) * data_weights
        if not (product > 0).any():
            raise InputError(
                "data: training has no examples: all weights are 0 or all interactions are too old; see "
                "the column `weight`, data.events and the objective"
            )
        scaled: np.ndarray = (product / product[product > 0].mean()).astype(np.float32)
        return scaled

    def batches(self, interactions: Interactions, **settings: Any) -> TrainBatches:
        """Build the batches; for `settings` see `TrainBatches`."""
        return TrainBatches(interactions, **self.drawn(interactions, settings), **settings)

    def drawn(self, interactions: Interactions, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the size of batches, the weights of the examples and the draws of an epoch."""
        weights = self.example_weights(interactions, settings.get("with_impressions", False))
        draws = self.num_draws(weights)
        return {"batch_size": self.config.batch_size, "weights": weights, "num_draws": draws}

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return the number of examples that an epoch draws in proportion to their weights, with replacement.

        None, the default: each example occurs once per epoch, and its weight multiplies its loss.
        """
        return None

    def frequencies(
        self, interactions: Interactions, num_items: int, shares: np.ndarray | None = None
    ) -> Tensor:
        """Return the probability that a positive is each item row, [num_items + 1].

        Args:
            shares: [n] occurrences of each example per epoch, relative to a first training; None for 1.
        """
        expected = self.expected_positives(interactions, shares)
        counts = np.zeros(num_items + 1)
        for rows in blocks(len(expected)):
            counts += np.bincount(interactions.items[rows], weights=expected[rows], minlength=num_items + 1)
        return torch.from_numpy((counts / counts.sum()).astype(np.float32))

    def expected_positives(self, interactions: Interactions, shares: np.ndarray | None) -> np.ndarray:
        """Return how often each interaction is a positive, [n], relative to others.

        Weights count only if examples are drawn by them. For `shares` see `frequencies`.
        """
        weights = self.example_weights(interactions)
        drawn = (weights > 0) if self.num_draws(weights) is None else weights
        return drawn if shares is None else drawn * shares


def halved(ages: NDArray[np.float64], half_life: float | None, max_age: float | None = None) -> np.ndarray:
    """Return weights [n] that halve with each half-life and are 0 beyond the maximum age, 1 on average."""
    weights = np.ones(len(ages)) if half_life is None else 0.5 ** (ages / half_life)
    if max_age is not None:
        weights[ages > max_age] = 0
    scaled: np.ndarray = (weights / weights[weights > 0].mean()).astype(np.float32)
    return scaled
