"""What every baseline does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy import sparse

from twotower.config import component
from twotower.config.component import Component
from twotower.config.spec import PositiveFloat
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.budget import Budget

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class BaselineData:
    """What baselines learn from, one after the other; what two of them compute is computed once.

    Args:
        train: the training interactions.
        num_items: N, the catalogue.
        now: unix seconds of the requests.
        content: unit vectors [N, V] of the items (`item_content`); None if items have ids only.
        budget: time for the baselines; `fit` calls its `check` between blocks of long work.
    """

    train: Interactions
    num_items: int
    now: int
    content: sparse.csr_array | None = None
    budget: Budget = field(default_factory=Budget)
    _made: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` returns, or returned for another baseline under this key; not to be changed."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


class Baseline(Component, ABC):
    """A recommender without training by gradient."""

    class Config(Component.Config):
        """Settings of every baseline."""

        reads_content: ClassVar[bool] = False
        """Whether it is left out where items are known by id alone."""

        def skip_reason(self, num_items: int) -> str | None:
            """Return why it cannot run on a catalogue of this size, None if it can."""
            return None

        def says_something_of(self, holdout: Holdout) -> bool:
            """Tell whether it means anything on such data; where not, it is left out without a word."""
            return True

        def suggestion(self) -> str:
            """Return what to try where towers are behind it on the validation split."""
            return "initialization=svd embedding_dim=128"

        def build(self) -> "Baseline":
            """Build the baseline, which has learned nothing yet."""
            return self.make(Baseline)

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def fit(self, past: BaselineData) -> None:
        """Learn from the log.

        Raises:
            InputError: a setting does not suit the log; begins with its name.
            OutOfTime: `past.budget` is spent.
        """

    @abstractmethod
    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return scores [B, N] of the catalogue (item row r in column r - 1) for some users' histories."""


class Baselines(component.Config):
    """The baselines of a run, by name, and the time for all of them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Baseline.Config]

    minutes: PositiveFloat = 10
    """Time for all baselines of a run; a baseline that does not fit is skipped, and the result names it."""

    @property
    def by_name(self) -> Mapping[str, Baseline.Config]:
        """The baselines, in their order."""
        return self.__pydantic_extra__
