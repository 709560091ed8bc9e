"""One column of the item table, and the rows that meet a condition on it.

Shapes: n rows of a catalogue, from row 1.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.features.raw_values import as_numbers, is_value
from twotower.features.tags import Tags
from twotower.features.vector import Vector
from twotower.serving.live_items import as_label

TAG_SEPARATOR = "|"
"""Text that contains it is split into tags, unless a feature reads the column."""

Mask = NDArray[np.bool_]


class AttributeColumn(ABC):
    """The values of one column, by row."""

    kind: str

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def extend(self, values: Sequence[Any]) -> None:
        """Append the raw values of the next rows."""

    @abstractmethod
    def matches(self, condition: Any, num_rows: int) -> Mask:
        """Return which rows meet a condition, [num_rows]. Raises InputError if the condition is invalid."""

    def refuse(self, expected: str, found: Any) -> InputError:
        """Return the error for an invalid condition on this column."""
        return InputError(
            f"where: column {self.name!r} holds {self.kind}: expected {expected}, got {found!r:.80}"
        )


class Numbers(AttributeColumn):
    """Numbers: a condition is a number, a list of numbers, or inclusive bounds. Missing values meet none."""

    kind = "number"

    def __init__(self, name: str, values: pd.Series) -> None:
        super().__init__(name)
        self._values = as_numbers(values).astype(np.float64)
        self._num_rows = len(self._values)
        self._truths = truths(values)

    def extend(self, values: Sequence[Any]) -> None:
        """See `AttributeColumn.extend`."""
        start, end = self._num_rows, self._num_rows + len(values)
        if end > len(self._values):
            self._values = np.pad(self._values, (0, max(end, end + end // 4) - len(self._values)))
        self._values[start:end] = as_numbers(pd.Series(list(values), dtype=object))
        self._num_rows = end

    def matches(self, condition: Any, num_rows: int) -> Mask:
        """See `AttributeColumn.matches`."""
        values = self._values[:num_rows]
        if isinstance(condition, Mapping):
            return self._between(condition, values)
        wanted = [self._number(each) for each in _several(condition)]
        return np.isin(values, np.array(wanted, dtype=np.float64))

    def _between(self, bounds: Mapping[str, Any], values: NDArray[np.float64]) -> Mask:
        if not bounds or set(bounds) - {"min", "max"}:
            raise self.refuse('{"min": number}, {"max": number} or both', dict(bounds))
        lowest = self._number(bounds.get("min", -math.inf))
        highest = self._number(bounds.get("max", math.inf))
        if lowest > highest:
            raise self.refuse("a min that is not above the max", dict(bounds))
        found: Mask = (values >= lowest) & (values <= highest)
        return found

    def _number(self, value: Any) -> float:
        try:
            number = float(value) if isinstance(value, Real | np.bool_) else math.nan
        except OverflowError:
            number = math.nan
        if math.isnan(number) or (isinstance(value, bool | np.bool_) and not self._truths):
            what = "true, false" if self._truths else "a number"
            raise self.refuse(f'{what}, a list of these, or {{"min": number, "max": number}}', value)
        return number


class Values(AttributeColumn):
    """Text, or tags (split by `tags`): a condition is a value or a list of values.

    The rows of each value are stored, so that a condition reads only its own rows.
    """

    def __init__(self, name: str, values: pd.Series, tags: Tags | None) -> None:
        super().__init__(name)
        self.kind = "text" if tags is None else "tags"
        self._tags = tags
        parts = values.astype(object).reset_index(drop=True)
        if tags is not None:
            parts = parts.map(self._parts).explode()
        codes, distinct = pd.factorize(parts)
        self._codes = {value: code for code, value in enumerate(distinct)}
        there = codes >= 0
        self._rows = parts.index.to_numpy()[there][np.argsort(codes[there], kind="stable")]
        self._ends = np.cumsum(np.bincount(codes[there], minlength=len(distinct)))
        self._added: dict[Any, list[int]] = {}
        self._num_rows = len(values)

    def extend(self, values: Sequence[Any]) -> None:
        """See `AttributeColumn.extend`."""
        for place, value in enumerate(values, start=self._num_rows):
            for part in self._parts(value):
                self._added.setdefault(part, []).append(place)
        self._num_rows += len(values)

    def matches(self, condition: Any, num_rows: int) -> Mask:
        """See `AttributeColumn.matches`."""
        found = np.zeros(num_rows, dtype=np.bool_)
        for value in _several(condition):
            number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            if not (isinstance(value, str) or (self._tags is not None and number)):
                raise self.refuse("a text or a list of texts", value)
            code = self._codes.get(value)
            if code is not None:
                start = self._ends[code - 1] if code else 0
                found[self._rows[start : self._ends[code]]] = True
            found[self._added.get(value, [])] = True
        return found

    def _parts(self, value: Any) -> list[Any]:
        if self._tags is not None:
            return list({part for part in self._tags.split(value) if is_value(part)})
        return [] if as_label(value) is None else [value]


def make_column(
    name: str, values: pd.Series, feature: object | None, is_label: bool
) -> AttributeColumn | None:
    """Return a column that conditions can filter by; None for vectors, dates and other values.

    Args:
        name: of the column.
        values: raw values by row.
        feature: the feature that reads the column, if any.
        is_label: whether the column is the label of items, which is never split into tags.
    """
    if isinstance(feature, Vector):
        return None
    if isinstance(feature, Tags):
        return Values(name, values, feature)
    dtype = values.dtype
    if pd.api.types.is_numeric_dtype(dtype) or truths(values):
        return Numbers(name, values)
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return None
    present = values[values.notna()]
    first = next((value for value in present if np.size(value)), "")
    if isinstance(first, str):
        several = not is_label and any(TAG_SEPARATOR in str(value) for value in present)
        return Values(name, values, make_tags(name) if several else None)
    if isinstance(first, list | tuple | np.ndarray) and is_value(first[0]):
        return Values(name, values, make_tags(name))
    return None


def truths(values: pd.Series) -> bool:
    """Return whether a column contains only true and false."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    present = values[values.notna()] if values.dtype == object else values[:0]
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)


def make_tags(name: str) -> Tags:
    """Return the feature that splits tags of a column that no feature reads."""
    return Tags(Tags.Config(column=name, dim=1, separator=TAG_SEPARATOR))


def _several(condition: Any) -> list[Any]:
    if isinstance(condition, list | tuple | set | frozenset | np.ndarray):
        return list(condition)
    return [condition]
