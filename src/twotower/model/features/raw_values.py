"""Raw values as numbers and as rows of an embedding table."""

import math
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from twotower.model.features.feature import Feature

FloatArray = npt.NDArray[np.float64]


def as_numbers(values: pd.Series) -> FloatArray:
    """Return values as float64 [n]; NaN if a value is missing or neither a number nor numeric text."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.fromiter((_as_number(value) for value in values), np.float64, count=len(values))


def as_finite_numbers(values: pd.Series) -> FloatArray:
    """Return values as `as_numbers` does, but NaN for infinite values."""
    numbers = as_numbers(values)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _as_number(value: Any) -> float:
    if not isinstance(value, Real | Decimal | str | np.bool_):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def is_value(value: Any) -> bool:
    """Return whether a value can be a category: text or a finite number."""
    if isinstance(value, str):
        return True
    try:
        return isinstance(value, int | float | np.integer | np.floating | np.bool_) and math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


class ValueRows(Feature.State):
    """Known values, at rows 1..n in a fixed order; row 0 = unknown.

    1, 1.0 and numpy's 1 are one value; "1" is another.
    """

    values: list[str | bool | int | float] = Field(default_factory=list)

    @classmethod
    def fit(cls, values: Iterable[Any], min_count: int = 1) -> Self:
        """Return the values that occur at least `min_count` times, sorted, numbers first."""
        counts = Counter(value.item() if isinstance(value, np.generic) else value for value in values)
        frequent = (value for value, count in counts.items() if count >= min_count)
        return cls(values=sorted(frequent, key=lambda value: (isinstance(value, str), value)))

    def extend(self, values: "ValueRows", **fields: Any) -> Self:
        """Return these values, then the values of the argument that have no row here, in its order."""
        new = [value for value in values.values if value not in self.row_of]
        return type(self)(values=[*self.values, *new], **fields)

    @cached_property
    def row_of(self) -> dict[str | bool | int | float, int]:
        """Value -> row."""
        return {value: row for row, value in enumerate(self.values, start=1)}

    def row(self, value: Any) -> int:
        """Return the row of a value, 0 if it is unknown."""
        try:
            return self.row_of.get(value, 0)
        except TypeError:  # not hashable
            return 0
