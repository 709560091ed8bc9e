"""What every baseline does."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from twotower.config.component import Component
from twotower.data.dataset import Holdout
from twotower.data.history import History


class Baseline(Component, ABC):
    """A recommender without training by gradient."""

    class Config(Component.Config):
        """Settings of every baseline."""

        def skip_reason(self, num_items: int) -> str | None:
            """Return why it cannot run on a catalogue of this size, None if it can."""
            return None

        def says_something_of(self, holdout: Holdout) -> bool:
            """Tell whether it means anything on such data; where not, it is left out without a word."""
            return True

        def build(self) -> "Baseline":
            """Build the baseline, which has learned nothing yet."""
            return self.make(Baseline)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def fit(self, train: History, num_items: int, now: int) -> None:
        """Learn from the log; requests come at `now`, in unix seconds.

        Raises:
            InputError: a setting does not suit the log; begins with its name.
        """

    @abstractmethod
    def scores(self, history: History, users: np.ndarray) -> NDArray[np.float32]:
        """Return scores [B, N] of the catalogue (item row r in column r - 1) for some users' histories."""
