"""What every feature kind does: learn from train values, encode any value, embed what it encoded."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor, nn

from twotower.config.problems import Gathered
from twotower.config.spec import build, spec_of
from twotower.data.column import quoted

REQUEST_TIME = "request_time"
"""Reserved user column: unix seconds of the request, given at call time instead of by the user table."""

STATE = "state"

Missing = Literal["error", "allow"]
Values = pd.Series | Sequence[Any]
BoolArray = npt.NDArray[np.bool_]


class Feature(ABC):
    """One feature of users or of items.

    A subclass keeps every constructor argument as an attribute of the same name, and what it learned in
    `state`; both together are its JSON.

    Args:
        column: of the user or item table.
        missing: `error` refuses a table with missing values in the column; `allow` encodes them as unknown.
    """

    def __init__(self, *, column: str, missing: Missing = "error") -> None:
        self.column = column
        self.missing = missing

    def problems(self) -> list[tuple[str, str]]:
        """Return (parameter, message) of what is known to be wrong before data is read; never raises."""
        return []

    def faults(self, values: pd.Series, origin: str) -> list[str]:
        """Return why this feature cannot use a column; reads every row, of train or not.

        Args:
            values: [n], in table order; a named index is quoted in place of the row number.
            origin: file or table the values come from, for the message.

        Returns:
            At most two messages: values are missing (unless `missing` is `allow`), or not what is expected.
        """
        absent = values.isna().to_numpy()
        wrong = np.zeros(len(values), dtype=np.bool_)
        wrong[~absent] = self._wrong(values[~absent])
        kinds = [absent] if self.missing == "error" else []
        return [self._refusal(values, rows, origin) for rows in (*kinds, wrong) if rows.any()]

    def check(self, values: pd.Series, origin: str) -> None:
        """Refuse a column this feature cannot use.

        Args:
            values: see `faults`.
            origin: see `faults`.

        Raises:
            InputError: a value is missing or not what is expected.
        """
        Gathered(origin, self.faults(values, origin)).tell()

    def fit(self, values: pd.Series, origin: str) -> None:
        """Learn from the values of train entities only.

        Args:
            values: [n] of train entities.
            origin: file or table the values come from, for the message.

        Raises:
            InputError: see `check`.
        """
        self.check(values, origin)
        self._learn(values)

    def encode(self, values: Values) -> Tensor:
        """Encode values; unseen, missing and odd ones become row 0 or a neutral value, never an exception.

        Args:
            values: [n] raw values.

        Returns:
            [n, width], integer rows or float32.
        """
        return self._encode(
            values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
        )

    def widen(self, width: int) -> None:  # noqa: B027  an optional hook
        """Hear the width of the tower's output, before `encoder` is asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return the spec that builds this feature again, with its `state`."""
        names = [
            name
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        return {**spec_of(self, **{name: getattr(self, name) for name in names}), STATE: self.state()}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> "Feature":
        """Build a fitted feature from `to_json`; called on `Feature`, of any kind."""
        spec = {key: value for key, value in payload.items() if key != STATE}
        feature = build(spec, cls)
        feature.set_state(payload[STATE])
        return feature

    @property
    @abstractmethod
    def expected(self) -> str:
        """What a value must be, for error messages."""

    @property
    @abstractmethod
    def output_dim(self) -> int:
        """Width of what the encoder returns."""

    @abstractmethod
    def encoder(self) -> nn.Module:
        """Return a fresh module, encoded [..., width] -> [..., output_dim]; call it after `fit`."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what `fit` learned as plain values."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""

    @abstractmethod
    def _wrong(self, values: pd.Series) -> BoolArray:
        """Return which of these values, none of them missing, are not what is expected."""

    @abstractmethod
    def _learn(self, values: pd.Series) -> None:
        """Learn from checked train values."""

    @abstractmethod
    def _encode(self, values: pd.Series) -> Tensor:
        """See `encode`."""

    def _refusal(self, values: pd.Series, rows: BoolArray, origin: str) -> str:
        """Return what to say about rows [n] that are wrong in one way."""
        position, index = int(rows.argmax()), values.index
        # A table of entities is in the order of its ids, which need not be its file's.
        place = f"{index.name} {quoted(index[position])}" if index.name else f"row {position + 1}"
        missing = bool(values.isna().iloc[position])
        found = "nothing (NaN)" if missing else quoted(values.iloc[position])
        remedy = "mend the value" + (", or set `missing: allow`" if missing else "")
        num = f" ({int(rows.sum()):,} such rows in all)" if rows.sum() > 1 else ""
        wrong = f"expected {self.expected}, found {found}{num}; {remedy}"
        return f"{origin}: column {self.column!r}, {place}: {wrong}"


class ContextFeature(Feature):
    """A feature of the request itself: reads the reserved column `request_time`, never a table."""

    @abstractmethod
    def encode_times(self, times: Tensor) -> Tensor:
        """Encode request times [B], unix seconds, 0 = not known -> [B, width]."""


def feature_from_json(payload: Mapping[str, Any]) -> Feature:
    """Build any fitted feature from `Feature.to_json`."""
    return Feature.from_json(payload)
