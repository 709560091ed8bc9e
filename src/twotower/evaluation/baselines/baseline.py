"""Base class of baselines, their input and their time limit."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy import sparse

from twotower.config import component
from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.spec import PositiveFloat
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.data.sources.source import needs_times
from twotower.data.times import SECONDS_A_DAY
from twotower.evaluation.item_content import item_content
from twotower.evaluation.ranking import interaction_matrix, item_popularity
from twotower.model.features.feature_table import FeatureTable

T = TypeVar("T")
WINDOWS = (1 / 24, 3 / 24, 8 / 24, 1.0, 3.0, 7.0, 14.0, 28.0, 90.0, 365.0, 1_000.0, 3_650.0)
"""Lengths of recent windows that tuning tries, in days."""
FIRST_PLACES, MAX_HALVINGS = 20, 11


class TriedValues(NamedTuple):
    """The values of a setting that tuning tries, in addition to its default.

    With `one_peak`, a value further from the default is tried only if the one before it was better.
    """

    values: Sequence[float]
    one_peak: bool = True


class OutOfTime(Exception):  # noqa: N818  # ends a baseline without an error
    """The remaining time is too short for the next step of a baseline."""


class Budget:
    """A time limit that starts with its creation."""

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Return the remaining seconds."""
        return self._end - self._clock()

    def half(self) -> "Budget":
        """Return a budget of half of the remaining time."""
        return Budget(self.left() / 2, self._clock)

    def check(self, seconds: float = 0.0) -> None:
        """Raise `OutOfTime` if fewer than these seconds remain; call it between blocks of long work."""
        if self.left() < seconds:
            raise OutOfTime


@dataclass(frozen=True, eq=False)
class BaselineData:
    """The input of `fit` of all baselines; values that several baselines need are computed once.

    Args:
        train: the training interactions.
        num_items: N, the catalogue.
        now: unix seconds of the requests.
        items: features of the catalogue, for `content`.
        is_tuning: whether several settings are fitted, so that a baseline keeps what they share.
    """

    train: Interactions
    num_items: int
    now: int
    items: FeatureTable | None = None
    budget: Budget = field(default_factory=Budget)
    is_tuning: bool = False
    _made: dict[Hashable, dict[Hashable, Any]] = field(default_factory=dict)

    @property
    def content(self) -> sparse.csr_array | None:
        """Unit vectors [N, V] of the items (`item_content`); None if items have ids only."""
        items = self.items
        return self.once(
            "content", lambda: None if items is None else item_content(items, self.popularity > 0)
        )

    @property
    def row_popularity(self) -> NDArray[np.int64]:
        """Training interactions of each item row [N + 1]."""
        return self.once("popularity", lambda: item_popularity(self.train, self.num_items))

    @property
    def popularity(self) -> NDArray[np.int64]:
        """Training interactions of each item [N]."""
        return self.row_popularity[1:]

    def recent_popularity(self, days: float) -> NDArray[np.int64]:
        """Return the training interactions of each item [N] in the last `days` before now."""
        train = self.train.positives
        inside = (train.times >= self.now - days * SECONDS_A_DAY) & (train.times < self.now)
        return np.bincount(train.items[inside], minlength=self.num_items + 1)[1:]

    @property
    def fallback(self) -> NDArray[np.float32]:
        """Scores [N] for users without a history: interactions in the latest part of the log, then in all.

        Of the whole log, its half, its quarter and so on, the part before the last tenth of the interactions
        whose most popular items have most of that tenth.
        """
        return self.once("fallback", lambda: latest_popularity(self.train.positives, self.num_items))

    @property
    def matrix(self) -> sparse.csr_array:
        """The interaction matrix of all users, float32 [num_users + 1, N]."""
        users = np.arange(self.train.num_users + 1)
        return self.once("matrix", lambda: interaction_matrix(self.train, users, self.num_items))

    def windows(self) -> TriedValues:
        """Return lengths of recent windows in days, up to the first one that contains all interactions."""
        span = (self.now - int(self.train.positives.times.min(initial=self.now))) / SECONDS_A_DAY
        return TriedValues(WINDOWS[: 1 + sum(days < span for days in WINDOWS)], one_peak=False)

    def once(self, kind: Hashable, make: Callable[[], T], key: Hashable = None, keep: int = 1) -> T:
        """Return the result of `make`, cached for the latest `keep` keys of a kind; do not modify it."""
        made: dict[Hashable, T] = self._made.setdefault(kind, {})
        if key not in made:
            while len(made) >= keep:
                del made[next(iter(made))]
            made[key] = make()
        return made[key]


def latest_popularity(log: Interactions, num_items: int) -> NDArray[np.float32]:
    """Return `BaselineData.fallback` of positive interactions."""
    items = np.asarray(log.items)[np.argsort(log.times, kind="stable")]
    before, after = np.split(items, [len(items) * 9 // 10])
    later = np.bincount(after, minlength=num_items + 1)[1:]

    def counts(rows: NDArray[np.int32], halvings: int) -> NDArray[np.int64]:
        return np.bincount(rows[len(rows) - (len(rows) >> halvings) :], minlength=num_items + 1)[1:]

    def found(halvings: int) -> int:
        return int(later[np.argsort(-counts(before, halvings), kind="stable")[:FIRST_PLACES]].sum())

    best = max(range(MAX_HALVINGS), key=found)  # of equal ones the longest
    ever = counts(items, 0)
    fallback: NDArray[np.float32] = (counts(items, best) + ever / (ever.max(initial=0) + 1)).astype(
        np.float32
    )
    return fallback


class Baseline(Component, ABC):
    """A recommender without gradient training."""

    class Config(Component.Config):
        suggestion: ClassVar[str] = "initialization=svd embedding_dim=256"
        """Overrides to try if the towers are worse than this baseline on the validation split."""

        reads_content: ClassVar[bool] = False
        """Whether it reads item features; without any it is left out."""

        reads_times: ClassVar[bool] = False
        """Whether it reads the times of interactions; data without times is refused."""

        def skip_reason(self, past: BaselineData) -> str | None:
            """Return why the baseline cannot run on data of this size, None if it can."""
            return None

        def applies_to(self, holdout: Holdout, past: BaselineData) -> bool:
            """Return whether the baseline applies to a holdout and its past; if not, it is skipped."""
            return True

        def space(self, past: BaselineData) -> Mapping[str, TriedValues]:
            """Return the settings that tuning chooses on the validation split, in order."""
            return {}

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterable[tuple[str, str]]:
            """See `Component.Config.problems`."""
            remedy = f"leave it out: '~{context.key}'"
            return needs_times(context.get("data"), remedy) if self.reads_times else ()

        def build(self) -> "Baseline":
            """Build the baseline; call `fit` next."""
            return self.make(Baseline)

    config: Config

    @abstractmethod
    def fit(self, past: BaselineData) -> None:
        """Learn from the training interactions.

        Raises:
            InputError: a setting does not suit the data; begins with the name of the setting.
            OutOfTime: `past.budget` is spent.
        """

    def shared_scores(self) -> NDArray[np.float32] | None:
        """Return the scores [N] of all users; None if users have different ones."""
        return None

    @abstractmethod
    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        """Return scores [B, N] of the catalogue (item row r in column r - 1) for some users' histories."""


class Baselines(component.Config):
    """The baselines of a run by name, their time limit, and whether they are tuned."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Baseline.Config]

    minutes: PositiveFloat = 10
    """Time limit of all baselines of a run; baselines that exceed it are skipped and named in the result."""
    tune: bool = True
    """Choose settings that are not set here or by an override on the validation split."""

    @property
    def by_name(self) -> Mapping[str, Baseline.Config]:
        """The baselines in order."""
        return self.__pydantic_extra__
