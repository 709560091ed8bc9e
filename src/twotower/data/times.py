"""Times of interactions as unix seconds."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from twotower.data.source_column import SourceColumn

TimestampUnit = Literal["s", "ms", "iso"]
EARLIEST = 86_400  # 1970-01-02: earlier values are missing times or not seconds
LATEST = 4_102_444_800  # 2100-01-01: later values are not seconds
SECONDS_A_DAY = 86_400
MAX_HORIZON_DAYS = 28
"""Days ahead of a request that training predicts at most, unless the settings say more."""
YEAR = 365 * SECONDS_A_DAY
EXACT = 2**53  # floats beyond it do not hold every whole number
BARE_NUMBER = r"-?\d+(\.\d*)?"
YEAR_FIRST = r"\s*\d{4}"
ISO = "ISO8601"
"""The format of ISO 8601 in pandas."""


def date(seconds: int) -> str:
    """Return unix seconds as a date with its time in UTC."""
    return str(np.datetime64(seconds, "s")).replace("T", " ")  # unlike datetime, of any year


def checked_times(column: SourceColumn, unit: TimestampUnit) -> "pd.Series[Any]":
    """Return times as unix seconds: whole numbers, ISO 8601 text (UTC without a zone), or Arrow times.

    Raises:
        InputError: a value is not of the unit, or not between 1970-01-02 and 2100.
    """
    if unit == "iso":
        times = parsed_dates(column.values)
        wrong = times.isna().to_numpy()
        expected = "a date or time in ISO 8601, like 2024-05-31 or 2024-05-31T12:00:00Z"
        hint = "for numbers set data.timestamp_unit=s or ms"
    else:
        numbers = _numbers(column)
        wrong = np.zeros(len(numbers), dtype=np.bool_)
        if numbers.dtype == np.float64:
            wrong = ~((numbers == np.floor(numbers)) & (np.abs(numbers) < EXACT))
        expected = f"whole unix {'seconds' if unit == 's' else 'milliseconds'}"
        hint = "for dates set data.timestamp_unit=iso"

    def message(row: int) -> str:
        if unit != "iso" and EXACT <= numbers[row] < np.inf:
            return _out_of_range(int(numbers[row]), unit)
        return f"expected {expected}, found {column.describe(row)}; {hint}"

    column.refuse(wrong, message)
    if unit == "iso":
        numbers = times.astype("datetime64[us, UTC]").astype(np.int64).to_numpy() // 10**6
    seconds = numbers // (1_000 if unit == "ms" else 1)
    earliest = LATEST // 1_000 if unit == "ms" else EARLIEST  # a lower value in ms is likely in seconds
    outside = (seconds < earliest) | (seconds >= LATEST)
    column.refuse(outside, lambda row: _out_of_range(int(numbers[row]), unit))
    return pd.Series(seconds.astype(np.int64), index=column.values.index)


def _numbers(column: SourceColumn) -> np.ndarray:
    """Return a column of whole numbers as integers, any other as floats with NaN for other values."""
    values, kind = column.values, column.values.dtype
    if pd.api.types.is_integer_dtype(kind) and not values.isna().any():
        return values.to_numpy(dtype=np.uint64 if pd.api.types.is_unsigned_integer_dtype(kind) else np.int64)
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        return np.full(len(values), np.nan)
    return column.numbers()


def parsed_dates(values: "pd.Series[Any]", form: str = ISO) -> "pd.Series[Any]":
    """Return dates and times in UTC; NaT for other values. Texts have a `form` of `pandas.to_datetime`."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.to_datetime(values, utc=True)
    text = values.astype("str")
    # "now" and "today" are not dates, and as ISO 8601 bare numbers are none, but pandas would parse them.
    if form == ISO:
        dates = text.str.match(YEAR_FIRST) & ~text.str.fullmatch(BARE_NUMBER)
    else:
        dates = text.str.contains(r"\d")
    text = text.where(dates.fillna(False).astype(bool))
    return pd.to_datetime(text, format=form, utc=True, errors="coerce")


def _out_of_range(value: int, unit: TimestampUnit) -> str:
    """Return the message of a time outside the range, in the unit of the file; of dates in seconds."""
    hint, scale = "", 1_000 if unit == "ms" else 1
    if unit == "ms" and value > 0:
        hint = ", as if seconds were read as milliseconds: set data.timestamp_unit=s, or convert the rows"
    for name, factor in (("nanoseconds", 10**9), ("microseconds", 10**6), ("milliseconds", 10**3)):
        if factor > scale and EARLIEST <= value // factor < LATEST:
            setting = ", data.timestamp_unit=ms in table_files" if factor == 10**3 else ""
            hint = f", which looks like {name}: divide by {factor // scale:,}{setting}"
    what = "milliseconds" if unit == "ms" else "seconds"
    return f"expected unix {what} between 1970-01-02 and 2100, found {value}{hint}"
