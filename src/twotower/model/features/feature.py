"""Base class of features: learns from training values, encodes values, builds the encoder module."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from twotower.config.choice_context import NO_CONTEXT, ChoiceContext
from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.problems import ErrorCollector, nearest
from twotower.config.spec import Width
from twotower.data.interactions import Interactions
from twotower.data.source_column import SourceColumn, quoted
from twotower.data.sources.source import Source
from twotower.data.times import SECONDS_A_DAY

REQUEST_TIME = "request_time"
"""Reserved column: unix seconds of the request, given at call time and not by a table."""
STATE = "state"
Side = Literal["user", "item", "context"]
TABLES = {"user": "users", "item": "items", "context": "context"}
Values = pd.Series | Sequence[Any]


@dataclass(frozen=True)
class FeaturePlace:
    """The place of a feature in the settings of a run; None: not known."""

    side: Side
    name: str
    data: Source.Config | None = None
    columns: Set[str] | None = None
    """Columns of the table that the feature reads."""

    @classmethod
    def of(cls, context: ChoiceContext) -> "FeaturePlace | None":
        """Return the place of the feature `features.<side>.<name>`; None for another context."""
        _, *place = context.key.split(".", 2)
        if len(place) != 2:
            return None
        side, columns = cast("Side", place[0]), context.get("columns")
        own = None if columns is None else columns.get(TABLES[side], set())
        return cls(side, place[1], context.get("data"), own)


class Activity(NamedTuple):
    """How often and how recently users or items [n] occur in the training data.

    Attributes:
        counts: number of interactions.
        ages: days from the last interaction of each to the last one of all.
    """

    counts: npt.NDArray[np.int64]
    ages: npt.NDArray[np.float64]

    @classmethod
    def measure(
        cls, parts: Sequence[Interactions], rows: npt.NDArray[np.int64], of_users: bool
    ) -> "Activity":
        """Return the activity of user rows or of item rows [n], each in some part."""
        size = int(rows.max(initial=0)) + 1
        counts, last = np.zeros(size, dtype=np.int64), np.full(size, -np.inf)
        for part in parts:
            entities = part.user_rows() if of_users else part.items
            counts += np.bincount(entities, minlength=size)
            np.maximum.at(last, entities, np.asarray(part.times, dtype=np.float64))
        return cls(counts[rows], (last.max() - last[rows]) / SECONDS_A_DAY)


class Feature(Component, ABC):
    """A feature of users, items or contexts, with a `Config` from YAML and a learned `State`."""

    class Config(Component.Config):
        column: str
        """Column of the user or item table; for context features, of the interactions."""
        missing: Literal["unknown", "refuse"] = "unknown"
        """`unknown` encodes missing values as unknown; `refuse` raises an error for them."""

        def build(self, width: int) -> "Feature":
            """Build the feature for a tower whose output has this width."""
            return self.make(Feature)

        def problems(self, context: ChoiceContext = NO_CONTEXT) -> Iterator[tuple[str, str]]:
            """Yield mistakes in the name and the column."""
            place = FeaturePlace.of(context)
            if place is None:
                return
            try:
                check_name(place.name, self)
            except InputError as error:
                yield "", str(error)
                return
            if self.describes_request:
                if place.side == "item":
                    yield "", "describes the request, so it belongs to the users"
            elif place.columns is not None and self.column not in place.columns:
                table = "context columns" if place.side == "context" else TABLES[place.side]
                text = f"the {table} of this data have no column {self.column!r}"
                yield "column", f"{text}; {nearest(self.column, place.columns)}"

        @property
        def gives_sparse_gradients(self) -> bool:
            """Whether the encoder has sparse gradients."""
            return False

        @property
        def describes_request(self) -> bool:
            """Whether it reads the request time and no table."""
            return False

    class State(BaseModel):
        """Plain values that `fit` learned; before `fit`, the values of empty training data."""

        model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    config: Config
    state: State

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.state = self.State()

    @property
    def column(self) -> str:
        """The column that the feature reads."""
        return self.config.column

    @property
    @abstractmethod
    def expected(self) -> str:
        """The expected value, for messages."""

    @property
    @abstractmethod
    def output_dim(self) -> int:
        """Width of the output of the encoder."""

    def encoder(self) -> nn.Module:
        """Return a new module, encoded [..., width] -> [..., output_dim]; call it after `fit`."""
        return nn.Identity()

    def faults(self, values: pd.Series, source_path: str) -> list[str]:
        """Return messages about missing and unexpected values [n]; a named index replaces the row number."""
        column, errors = SourceColumn(values, source_path, self.column), ErrorCollector(source_path)
        missing = values.isna().to_numpy()
        wrong = np.zeros(len(values), dtype=np.bool_)
        wrong[~missing] = self._wrong(values[~missing])
        expected, remedy = f"expected {self.expected}, found", "; correct the value"
        if self.config.missing == "refuse":
            with errors.collect():
                allow = f"{remedy}, or set `missing: unknown`"
                column.refuse(missing, lambda _: f"{expected} nothing (NaN)", allow)
        with errors.collect():
            column.refuse(wrong, lambda row: f"{expected} {quoted(values.iloc[row])}", remedy)
        return errors.messages

    def check(self, values: pd.Series, source_path: str) -> None:
        """Raise InputError if the feature cannot use a column; see `faults`."""
        ErrorCollector(source_path, self.faults(values, source_path)).raise_if_any()

    def fit(self, values: pd.Series, grow: bool = False) -> None:
        """Learn from the checked values [n] of training entities; `grow` extends what was learned before.

        New values get rows at the end of the tables of the encoder; one that equals row 0 changes nothing.
        """
        self.state = self._grown(values) if grow else self._learn(values)

    def admit(self, values: pd.Series, activity: Activity) -> pd.Series:
        """Return the values [n] of training entities to learn from, by their activity [n]: here all."""
        return values

    def encode(self, values: Values) -> Tensor:
        """Encode values -> [n, width], table rows or float32; unknown values are row 0 or neutral."""
        if not isinstance(values, pd.Series):
            values = pd.Series(list(values), dtype=object)
        return self._encode(values)

    def to_json(self) -> dict[str, Any]:
        """Return the spec and the state, from which `feature_from_json` builds the feature."""
        return {**self.config.spec(), STATE: self.state.model_dump()}

    def files_digest(self, values: pd.Series) -> str | None:
        """Return a SHA-256 of the files that encoding reads, None if it reads none."""
        return None

    @abstractmethod
    def _wrong(self, values: pd.Series) -> npt.NDArray[np.bool_] | list[bool]:
        """Return which of these values are invalid, [n]; none is missing."""

    @abstractmethod
    def _learn(self, values: pd.Series) -> State:
        """Return the state of training values."""

    def _grown(self, values: pd.Series) -> State:
        """Return the state extended by training values; by default unchanged."""
        return self.state

    @abstractmethod
    def _encode(self, values: pd.Series) -> Tensor:
        """See `encode`."""


class EmbeddedFeature(Feature):
    """A feature whose encoder is a table of embeddings."""

    class Config(Feature.Config):
        dim: Width
        """Width of an embedding."""

    config: Config

    @property
    def output_dim(self) -> int:
        """Width of an embedding."""
        return self.config.dim


def feature_from_json(payload: Mapping[str, Any], key: str) -> Feature:
    """Build a fitted feature from the result of `Feature.to_json`; `key` is for messages."""
    spec = {name: value for name, value in payload.items() if name != STATE}
    feature = Feature.Config.from_spec(spec, key).make(Feature)
    feature.state = feature.State.model_validate(payload[STATE])
    return feature


def check_name(name: str, config: Feature.Config) -> None:
    """Raise InputError for a name that a module cannot have, or a table feature of the reserved column."""
    if is_taken(name):
        raise InputError(f"feature {name!r}: this name is taken or not possible; choose '{name}_'")
    if config.column == REQUEST_TIME and not config.describes_request:
        kind = "twotower.model.features.request_time.RequestTime"
        raise InputError(f"feature {name!r}: column {REQUEST_TIME!r} is reserved for {kind}; use that")


def is_taken(name: str) -> bool:
    """Return whether `nn.ModuleDict` cannot contain a module of this name."""
    return not name or "." in name or hasattr(nn.ModuleDict(), name)
