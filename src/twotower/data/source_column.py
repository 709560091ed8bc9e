"""A column with its place in a file, for messages, and the check of id columns."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError

MAX_LENGTH = 256
"""Maximum characters of a text id; longer texts are not keys, and would bloat every map from ids to rows."""
INT64 = np.iinfo(np.int64)
WHOLE_NUMBER = r"-?[1-9]\d{0,18}|0"  # 007 is a code
DECIMAL = r"-?\d+\.0*"


def quoted(value: Any) -> str:
    """Return a value as in its file, text in quotes and at most 80 characters."""
    return f"{value!r:.80}" if isinstance(value, str) else " ".join(f"{value!s:.80}".split())


@dataclass(frozen=True, eq=False)
class SourceColumn:
    """A column of a file, for messages; a named index of the values says where rows come from ("line" 7)."""

    values: "pd.Series[Any]"
    source_path: str
    name: str
    file_starts: Sequence[tuple[int, str]] = ()  # number of earlier rows and name of each of several files
    counted: str = "rows in all"  # what the number of wrong rows counts
    before: int = 0  # rows of the file before these

    def location(self, position: int) -> str:
        """Return the location of a row: the value of a named index, or the row number from 1."""
        index, file, start = self.values.index, "", -self.before
        if self.file_starts:
            start, name = max(each for each in self.file_starts if each[0] <= position)
            file = f" of {name}"
        if index.name is None:
            return f"row {position - start + 1}{file}"
        return f"{index.name} {quoted(index[position])}{file}"

    def numbers(self) -> NDArray[np.float64]:
        """Return the values as numbers; NaN for other values."""
        numbers = pd.to_numeric(self.values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        return np.asarray(numbers, dtype=np.float64)

    def describe(self, position: int) -> str:
        """Return a value and its type for a message."""
        if bool(self.values.isna().iloc[position]):
            return "nothing (NaN)"
        value = self.values.iloc[position]
        return quoted(value) if isinstance(value, str) else f"{quoted(value)} ({type(value).__name__})"

    def refuse(self, wrong: NDArray[np.bool_], message: Callable[[int], str], remedy: str = "") -> None:
        """Raise InputError if rows are wrong: location and message of the first, and their number."""
        if wrong.any():
            position, number = int(wrong.argmax()), int(wrong.sum())
            rows = f" ({number:,} such {self.counted})" if number > 1 else ""
            location = f"{self.source_path}: column {self.name!r}, {self.location(position)}"
            raise InputError(f"{location}: {message(position)}{rows}{remedy}")


def checked_ids(column: SourceColumn, is_csv: bool) -> "pd.Series[Any]":
    """Return an id column as int64 or as text; raises InputError with the first missing or invalid id."""

    def message(row: int) -> str:
        kinds = f"whole numbers or text (1 to {MAX_LENGTH} characters), of one kind in a column"
        return f"ids must be {kinds}; found {column.describe(row)}"

    values = column.values
    if is_csv:
        column.refuse(
            values.str.fullmatch(DECIMAL).to_numpy(dtype=np.bool_, na_value=False),
            lambda row: (
                f"id {values.iloc[row]!r} is a decimal number; ids must be whole numbers or text (a column "
                "with gaps is often saved so: fill the gaps and save whole numbers)"
            ),
        )
    column.refuse(values.isna().to_numpy(), message)
    is_integer = pd.api.types.is_integer_dtype(values.dtype)
    if not is_integer:
        objects = values.to_numpy(dtype=object)
        is_integer = len(objects) > 0 and is_whole(objects[0])
        is_valid = is_whole if is_integer else is_text_id
        column.refuse(np.array([not is_valid(value) for value in objects], dtype=np.bool_), message)
    if not is_integer:
        return values.astype("str")
    numbers = values.infer_objects()
    outside = ((numbers > INT64.max) | (numbers < INT64.min)).to_numpy(dtype=np.bool_)
    column.refuse(outside, lambda row: f"{values.iloc[row]} does not fit 64 bits; store these ids as text")
    return numbers.astype(np.int64)


def unified_ids(
    ids: Mapping[str, "pd.Series[Any]"], from_csv: Collection[str]
) -> Mapping[str, "pd.Series[Any]"]:
    """Return table -> ids, as whole numbers if they are in every table; CSV has no types."""
    for table, values in ids.items():
        if table in from_csv:
            distinct = pd.Series(values.unique())
            long = distinct[distinct.str.len() >= len(str(INT64.max))]
            is_integer = bool(distinct.str.fullmatch(WHOLE_NUMBER).all()) and all(
                map(fits_64_bits, map(int, long))
            )
        else:
            is_integer = values.dtype == np.int64
        if not is_integer:
            return ids
    return {table: values.astype(np.int64) for table, values in ids.items()}


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; booleans are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def fits_64_bits(number: int) -> bool:
    """Return whether a whole number fits int64."""
    return INT64.min <= number <= INT64.max


def is_text_id(value: Any) -> bool:
    """Return whether a value is a valid text id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and "\0" not in value
