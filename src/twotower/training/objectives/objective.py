"""What every objective says of a log: which interactions are examples, and how much each counts."""

from abc import ABC, abstractmethod
from typing import Annotated

import numpy as np
import torch
from annotated_types import Le
from torch import Tensor

from twotower.config.component import Component
from twotower.config.spec import PositiveInt
from twotower.data.history import History


class Objective(Component, ABC):
    """Which interactions of a log are examples: the item is the positive, what came before is the history.

    Args:
        config: the choice.
    """

    class Config(Component.Config):
        """Settings of every objective."""

        batch_size: Annotated[PositiveInt, Le(1_000_000)] = 1024
        """P, examples of a batch."""

        def build(self) -> "Objective":
            """Build the objective."""
            return self.make(Objective)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def weights(self, log: History) -> np.ndarray:
        """Return each interaction's weight as an example, [n] float32: 0 = none, 1 on average."""

    def num_draws(self, weights: np.ndarray) -> int | None:
        """Return how many examples an epoch draws in proportion to their weights, with replacement.

        None, the default: an epoch has every example once, and the loss weighs them.
        """
        return None

    def frequencies(self, log: History, num_items: int, shares: np.ndarray | None = None) -> Tensor:
        """Return the probability with which each item row is an example's positive, [num_items + 1].

        Args:
            log: of the examples.
            num_items: N.
            shares: [n] how often an epoch has an example where it would have it once; None for once.
        """
        weights = self.weights(log)
        drawn = (weights > 0) if self.num_draws(weights) is None else weights
        drawn = drawn if shares is None else drawn * shares
        counts = np.bincount(log.items, weights=drawn, minlength=num_items + 1)
        return torch.from_numpy((counts / counts.sum()).astype(np.float32))
