"""What columns of the user's own files become: ids of one type, unix seconds, lists of tags."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from twotower.data.column import Column

TimestampUnit = Literal["s", "ms", "iso"]

WHOLE_NUMBER = r"-?[1-9]\d{0,17}|0"
FLOAT_LIKE = r"-?\d+\.0*"
BARE_NUMBER = r"-?\d+(\.\d*)?"
YEAR_FIRST = r"\s*\d{4}"
EXACT = 2.0**53
ISO_TIMES: dict[str, Any] = {"format": "ISO8601", "utc": True, "errors": "coerce"}


class IdColumn:
    """The ids of one kind of entity in one file.

    Args:
        column: replaced in its frame by `make_whole`.
        untyped: it is from CSV, text until all files agree on whole numbers.

    Raises:
        InputError: an id in CSV is a decimal number.
    """

    def __init__(self, column: Column, *, untyped: bool) -> None:
        self.column = column
        self.untyped = untyped
        if untyped:
            self._codes, distinct = pd.factorize(column.values)
            self._distinct = pd.Series(distinct)
            self._refuse_decimals()

    def can_be_whole(self) -> bool:
        """Tell whether every id that is there is a whole number, in its usual spelling."""
        if self.untyped:
            return bool(self._distinct.str.fullmatch(WHOLE_NUMBER).all())
        return pd.api.types.is_integer_dtype(self.column.values.dtype)

    def make_whole(self) -> None:
        """Turn CSV text into whole numbers."""
        if self.untyped:
            numbers = np.append(self._distinct.to_numpy(dtype=object).astype(np.int64), 0)[self._codes]
            missing = self._codes < 0
            whole = pd.arrays.IntegerArray(numbers, missing) if missing.any() else numbers
            self.column.frame[self.column.key] = whole

    def _refuse_decimals(self) -> None:
        decimal = self._distinct.str.fullmatch(FLOAT_LIKE).to_numpy(dtype=np.bool_)
        if decimal.any():
            code = int(decimal.argmax())
            raise self.column.refusal(
                int((self._codes == code).argmax()),
                f"id {self._distinct[code]!r} is a decimal number; ids must be whole numbers or text (a "
                "column with gaps is often saved so: fill the gaps and save whole numbers)",
                int(decimal[self._codes[self._codes >= 0]].sum()),
            )


def unify_ids(columns: Sequence[IdColumn]) -> None:
    """Make the ids of all files whole numbers, if all of them can be; CSV cannot say which it means."""
    if all(column.can_be_whole() for column in columns):
        for column in columns:
            column.make_whole()


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
    if wrong.any():
        position = int(wrong.argmax())
        message = f"expected {expected}, found {column.found(position)}; {hint}"
        raise column.refusal(position, message, int(wrong.sum()))
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
