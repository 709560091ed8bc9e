"""One column of the item table, and which rows meet a condition on it.

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
"""Text that holds it is taken for several tags, unless a feature says otherwise."""

Mask = NDArray[np.bool_]


class AttributeColumn(ABC):
    """The values of one column, by row; more rows can follow."""

    kind: str

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def extend(self, values: Sequence[Any]) -> None:
        """Take in the raw values of the next rows."""

    @abstractmethod
    def meeting(self, condition: Any, num_rows: int) -> Mask:
        """Return which rows meet a condition, [num_rows]; InputError where it is none for this kind."""

    def refuse(self, expected: str, found: Any) -> InputError:
        """Return the error that says what a condition on this column may be."""
        return InputError(
            f"where: column {self.name!r} holds {self.kind}: expected {expected}, got {found!r:.80}"
        )


class Numbers(AttributeColumn):
    """Quantities: equal to one of some numbers, or within inclusive bounds; a missing one never is."""

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

    def meeting(self, condition: Any, num_rows: int) -> Mask:
        """See `AttributeColumn.meeting`."""
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
            raise self.refuse(f'{what}, a list of such, or {{"min": number, "max": number}}', value)
        return number


class Values(AttributeColumn):
    """Text, or several tags (those that `tags` finds): equal to one of some values.

    The rows of each value are kept, so that a condition costs no look at the others.
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

    def meeting(self, condition: Any, num_rows: int) -> Mask:
        """See `AttributeColumn.meeting`."""
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


def column_of(name: str, values: pd.Series, feature: object | None, is_label: bool) -> AttributeColumn | None:
    """Return a column as conditions read it, None where there is no condition on its values.

    `feature` reads the column, if one does; what names items for people (`is_label`) is no tags.
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
        return Values(name, values, tags_of(name) if several else None)
    if isinstance(first, list | tuple | np.ndarray) and is_value(first[0]):
        return Values(name, values, tags_of(name))
    return None


def truths(values: pd.Series) -> bool:
    """Tell whether a column holds true, false and nothing else."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    present = values[values.notna()] if values.dtype == object else values[:0]
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)


def tags_of(name: str) -> Tags:
    """Return what finds the tags in a raw value of a column that no feature reads as tags."""
    return Tags(Tags.Config(column=name, dim=1, separator=TAG_SEPARATOR))


def _several(condition: Any) -> list[Any]:
    if isinstance(condition, list | tuple | set | frozenset | np.ndarray):
        return list(condition)
    return [condition]
