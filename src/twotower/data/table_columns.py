"""What columns of the user's own files become: ids of one type, unix seconds, lists of tags, numbers."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.data.column import Column

TimestampUnit = Literal["s", "ms", "iso"]

WHOLE_NUMBER = r"-?[1-9]\d{0,17}|0"
FLOAT_LIKE = r"-?\d+\.0*"
BARE_NUMBER = r"-?\d+(\.\d*)?"
YEAR_FIRST = r"\s*\d{4}"
EXACT = 2**53
"""Beyond it a float is no longer one whole number."""
ISO_TIMES: dict[str, Any] = {"format": "ISO8601", "utc": True, "errors": "coerce"}


def unify_ids(columns: Mapping[str, tuple[Column, bool]]) -> dict[str, str]:
    """Make the ids of all files whole numbers in place, if all of them can be; CSV cannot say what it means.

    Args:
        columns: table -> its ids, and whether they are text from CSV.

    Returns:
        Table -> what is wrong with its ids; where there is any, nothing is changed.
    """
    faults, unified = {}, []
    for table, (column, is_text) in columns.items():
        try:
            unified.append(_whole_ids(column) if is_text else _integers(column.values))
        except InputError as error:
            faults[table] = str(error)
    if not faults and all(values is not None for values in unified):
        for (column, _), values in zip(columns.values(), unified, strict=True):
            column.frame[column.key] = values
    return faults


def _integers(values: "pd.Series[Any]") -> "pd.Series[Any] | None":
    return values if pd.api.types.is_integer_dtype(values.dtype) else None


def _whole_ids(column: Column) -> Any:
    """Return text ids as whole numbers, None where one that is there is none in its usual spelling.

    Raises:
        InputError: an id is a decimal number.
    """
    codes, found = pd.factorize(column.values)
    distinct = pd.Series(found)
    is_decimal = distinct.str.fullmatch(FLOAT_LIKE).to_numpy(dtype=np.bool_)
    column.refuse(
        np.append(is_decimal, False)[codes],  # missing: code -1
        lambda row: (
            f"id {distinct[codes[row]]!r} is a decimal number; ids must be whole numbers or text (a column "
            "with gaps is often saved so: fill the gaps and save whole numbers)"
        ),
    )
    if not distinct.str.fullmatch(WHOLE_NUMBER).all():
        return None
    numbers = np.append(distinct.to_numpy(dtype=object).astype(np.int64), 0)[codes]
    missing = codes < 0
    return pd.arrays.IntegerArray(numbers, missing) if missing.any() else numbers


def seconds(column: Column, unit: TimestampUnit) -> "pd.Series[int]":
    """Return a time column as unix seconds.

    Args:
        column: whole numbers, text of whole numbers, ISO 8601 text (without a zone: UTC) or Parquet times.
        unit: of the numbers, or `iso` for dates and times.

    Raises:
        InputError: names the first value that is not what the unit says.
    """
    if unit == "iso":
        times = _parsed(column.values)
        wrong = times.isna().to_numpy()
        expected = "a date or time in ISO 8601, like 2024-05-31 or 2024-05-31T12:00:00Z"
        hint = "for numbers set data.timestamp_unit=s or ms"
    else:
        numbers = _numbers(column.values)
        wrong = ~((numbers == np.floor(numbers)) & (np.abs(numbers) < EXACT))
        expected = f"whole unix {'seconds' if unit == 's' else 'milliseconds'}"
        hint = "for dates set data.timestamp_unit=iso"
    column.refuse(wrong, lambda row: f"expected {expected}, found {column.found(row)}; {hint}")
    if unit == "iso":
        whole = times.astype("datetime64[us, UTC]").astype(np.int64).to_numpy() // 10**6
    else:
        whole = numbers.astype(np.int64) // (1 if unit == "s" else 1_000)
    return pd.Series(whole, index=column.frame.index)


def tags(values: "pd.Series[Any]", separator: str) -> "pd.Series[Any]":
    """Return text as lists of the parts between separators; lists and missing values stay as they are."""

    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(separator) if part.strip()]

    return pd.Series([split(value) for value in values], index=values.index, dtype=object)


def typed(values: pd.Series) -> pd.Series:
    """Return a text column as numbers, if each of its values is one; codes like 007 stay text.

    So do whole numbers that none of our types holds: beyond 64 bits, and beyond 53 beside missing values.
    """
    present = values.dropna()
    if present.str.fullmatch(r"-?0\d+").any():
        return values
    numbers = pd.to_numeric(present, errors="coerce")
    if numbers.isna().any() or len(present) == 0:
        return values
    if present.str.fullmatch(r"-?\d+").all():
        exact = len(present) == len(values) and numbers.dtype == np.int64
        if not exact and (numbers.abs() > EXACT).any():
            return values
    return pd.to_numeric(values)


def _numbers(values: "pd.Series[Any]") -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        return np.full(len(values), np.nan)
    numbers: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def _parsed(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.to_datetime(values, utc=True)
    # A bare number is not a date to us, though "2024" would parse as one; nor are "now" and "today".
    text = values.astype("str")
    dates = text.str.match(YEAR_FIRST) & ~text.str.fullmatch(BARE_NUMBER)
    return pd.to_datetime(text.where(dates.fillna(False).astype(bool)), **ISO_TIMES)
