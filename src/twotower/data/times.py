"""When interactions happened: unix seconds, from whatever a source has, and what no log can have."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.data.blocks import blocks, highest, lowest
from twotower.data.source_column import SourceColumn

TimestampUnit = Literal["s", "ms", "iso"]
EARLIEST = 86_400  # 1970-01-02: earlier times are missing values or not seconds
LATEST = 4_102_444_800  # 2100-01-01: later times are not seconds
SECONDS_A_DAY = 86_400
YEAR = 365 * SECONDS_A_DAY
LONGEST_GAP, LONGEST_SPAN = 10 * YEAR, 50 * YEAR
EXACT = 2**53  # beyond it a float is no longer one whole number
BARE_NUMBER = r"-?\d+(\.\d*)?"
YEAR_FIRST = r"\s*\d{4}"
MENDING = "bring all rows to one unit, and name it (data.timestamp_unit in table_files)"


def date(seconds: int) -> str:
    """Return unix seconds as a date with its time in UTC."""
    return str(np.datetime64(seconds, "s")).replace("T", " ")  # of any year, which datetime is not


def checked_times(column: SourceColumn, unit: TimestampUnit) -> "pd.Series[Any]":
    """Return whole numbers, text of them, ISO 8601 text (without a zone: UTC) or times as unix seconds.

    Raises:
        InputError: names the first value that is not what the unit says, or that no log has.
    """
    if unit == "iso":
        times = _parsed(column.values)
        wrong = times.isna().to_numpy()
        expected = "a date or time in ISO 8601, like 2024-05-31 or 2024-05-31T12:00:00Z"
        hint = "for numbers set data.timestamp_unit=s or ms"
    else:
        numbers = _numbers(column.values)
        wrong = np.zeros(len(numbers), dtype=np.bool_)
        if numbers.dtype == np.float64:
            wrong = ~((numbers == np.floor(numbers)) & (np.abs(numbers) < EXACT))
        expected = f"whole unix {'seconds' if unit == 's' else 'milliseconds'}"
        hint = "for dates set data.timestamp_unit=iso"
    column.refuse(wrong, lambda row: f"expected {expected}, found {column.found(row)}; {hint}")
    if unit == "iso":
        seconds = times.astype("datetime64[us, UTC]").astype(np.int64).to_numpy() // 10**6
    else:
        seconds = numbers // (1 if unit == "s" else 1_000)
    outside = (seconds < EARLIEST) | (seconds >= LATEST)
    column.refuse(outside, lambda row: _out_of_range(int(seconds[row])))
    return pd.Series(seconds.astype(np.int64), index=column.values.index)


def warning_of_times(column: SourceColumn) -> str | None:
    """Return what to warn of, if anything: a gap, a span or a place in time that cannot be.

    Each of the times could be; units were mixed or mistaken.
    """
    times = column.values.to_numpy(dtype=np.int64)
    return warning_of_unsorted_times(column, times, lambda: [times])


def warning_of_unsorted_times(
    column: SourceColumn, times: NDArray[np.int64], in_row_order: Callable[[], Iterable[np.ndarray]]
) -> str | None:
    """Return what `warning_of_times` does, of a log whose order is another than that of its rows.

    Args:
        column: as messages name it; its values are not asked for.
        times: unix seconds, in any order.
        in_row_order: gives them again, batch by batch.
    """
    text = _implausible(column, times, in_row_order)
    return f"{column.source_path}: column {column.name!r}: {text}" if text else None


def _numbers(values: "pd.Series[Any]") -> np.ndarray:
    """Return whole numbers of a type that holds no others as they are, all else as floats."""
    kind = values.dtype
    if pd.api.types.is_integer_dtype(kind) and not values.isna().any():
        return values.to_numpy(dtype=np.uint64 if pd.api.types.is_unsigned_integer_dtype(kind) else np.int64)
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        return np.full(len(values), np.nan)
    numbers: np.ndarray = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def _parsed(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return pd.to_datetime(values, utc=True)
    # A bare number is not a date to us, though "2024" would parse as one; nor are "now" and "today".
    text = values.astype("str")
    dates = text.str.match(YEAR_FIRST) & ~text.str.fullmatch(BARE_NUMBER)
    text = text.where(dates.fillna(False).astype(bool))
    return pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")


def _out_of_range(value: int) -> str:
    hint = ""
    for name, factor in (("nanoseconds", 10**9), ("microseconds", 10**6), ("milliseconds", 10**3)):
        if EARLIEST <= value // factor < LATEST:
            setting = ", data.timestamp_unit=ms in table_files" if factor == 10**3 else ""
            hint = f", which looks like {name}: divide by {factor:,}{setting}"
    return f"expected unix seconds between 1970-01-02 and 2100, found {value}{hint}"


def _implausible(
    column: SourceColumn, times: NDArray[np.int64], in_row_order: Callable[[], Iterable[np.ndarray]]
) -> str | None:
    first, last = lowest(times), highest(times)
    if last < LATEST // 1_000:
        return (
            f"all {len(times):,} rows lie between {date(first)} and {date(last)}, as seconds do that are "
            f"taken for milliseconds; {MENDING}"
        )
    if last - first <= LONGEST_GAP:
        return None
    before, after = _widest_gap(times, first, last)
    if after - before > LONGEST_GAP:
        early = sum(int((times[rows] <= before).sum()) for rows in blocks(len(times), times))
        few_are_early = 2 * early <= len(times)
        few = early if few_are_early else len(times) - early
        is_few = np.concatenate([(batch <= before) == few_are_early for batch in in_row_order()])
        return (
            f"{few:,} of {len(times):,} rows ({column.place(int(is_few.argmax()))} is the first) are "
            f"{(after - before) // YEAR} years from all others: none lies between {date(before)} and "
            f"{date(after)}, as where seconds and milliseconds are mixed; {MENDING}"
        )
    if last - first > LONGEST_SPAN:
        return f"the log runs from {date(first)} to {date(last)}, longer than a log can; {MENDING}"
    return None


def _widest_gap(times: NDArray[np.int64], first: int, last: int) -> tuple[int, int]:
    """Return the times before and after the widest gap, if one is longer than a day."""
    num_days = (last - first) // SECONDS_A_DAY + 1
    lows, highs = np.full(num_days, last + 1), np.full(num_days, first - 1)
    for rows in blocks(len(times), times):
        days = (times[rows] - first) // SECONDS_A_DAY
        np.minimum.at(lows, days, times[rows])
        np.maximum.at(highs, days, times[rows])
    there = np.flatnonzero(highs >= first)
    widest = int((lows[there[1:]] - highs[there[:-1]]).argmax())
    return int(highs[there[widest]]), int(lows[there[widest + 1]])
