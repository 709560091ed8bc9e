"""Raw values as numbers."""

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]


def as_numbers(values: pd.Series) -> FloatArray:
    """Return values as float64 [n]; NaN where a value is missing or is no number, numeric text being one."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.fromiter((_as_number(value) for value in values), np.float64, count=len(values))


def as_finite_numbers(values: pd.Series) -> FloatArray:
    """Return values as float64 [n]; NaN also where a value is infinite."""
    numbers = as_numbers(values)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _as_number(value: Any) -> float:
    if not isinstance(value, Real | Decimal | str | np.bool_):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan
