"""A column with its place in a file, for messages, and the check of id columns."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.config.errors import InputError


def quoted(value: Any) -> str:
    """Return a value as in its file, text in quotes and at most 80 characters."""
    return f"{value!r:.80}" if isinstance(value, str) else " ".join(f"{value!s:.80}".split())


@dataclass(frozen=True, eq=False)
class SourceColumn:
    """A column of a file (`source_path`); a named index says where its rows come from ("line" 7).

    `pieces` are (number of earlier rows, name) of several files, `counted` names rows in messages, and
    `before` is the number of rows that precede these in their file.
    """

    values: "pd.Series[Any]"
    source_path: str
    name: str
    pieces: Sequence[tuple[int, str]] = ()
    counted: str = "rows in all"
    before: int = 0

    def place(self, position: int) -> str:
        """Return the location of a row: the value of a named index, or the row number from 1."""
        index, file, start = self.values.index, "", -self.before
        if self.pieces:
            start, name = max(piece for piece in self.pieces if piece[0] <= position)
            file = f" of {name}"
        if index.name is None:
            return f"row {position - start + 1}{file}"
        return f"{index.name} {quoted(index[position])}{file}"

    def found(self, position: int) -> str:
        """Return a value and its type for a message."""
        if bool(self.values.isna().iloc[position]):
            return "nothing (NaN)"
        value = self.values.iloc[position]
        return quoted(value) if isinstance(value, str) else f"{quoted(value)} ({type(value).__name__})"

    def refuse(self, wrong: NDArray[np.bool_], say: Callable[[int], str], remedy: str = "") -> None:
        """Raise InputError if rows are wrong: location of the first, `say(position)`, and their number."""
        if wrong.any():
            position, number = int(wrong.argmax()), int(wrong.sum())
            rows = f" ({number:,} such {self.counted})" if number > 1 else ""
            place = f"{self.source_path}: column {self.name!r}, {self.place(position)}"
            raise InputError(f"{place}: {say(position)}{rows}{remedy}")


MAX_LENGTH = 256
"""Characters of a text id; longer ones are texts, not keys, and would bloat every map from ids to rows."""
INT64 = np.iinfo(np.int64)
WHOLE_NUMBER = r"-?[1-9]\d{0,18}|0"  # in its usual spelling; 007 is a code
DECIMAL = r"-?\d+\.0*"


def checked_ids(column: SourceColumn, is_csv: bool) -> "pd.Series[Any]":
    """Return an id column as int64 or as text; raises InputError with the first missing or invalid id."""

    def say(row: int) -> str:
        kinds = f"whole numbers or text (1 to {MAX_LENGTH} characters), of one kind in a column"
        return f"ids must be {kinds}; found {column.found(row)}"

    values = column.values
    if is_csv:
        column.refuse(
            values.str.fullmatch(DECIMAL).to_numpy(dtype=np.bool_, na_value=False),
            lambda row: (
                f"id {values.iloc[row]!r} is a decimal number; ids must be whole numbers or text (a column "
                "with gaps is often saved so: fill the gaps and save whole numbers)"
            ),
        )
    column.refuse(values.isna().to_numpy(), say)
    whole = pd.api.types.is_integer_dtype(values.dtype)
    if not whole:
        objects = values.to_numpy(dtype=object)
        whole = len(objects) > 0 and is_whole(objects[0])
        fits = is_whole if whole else is_text_id
        column.refuse(np.array([not fits(value) for value in objects], dtype=np.bool_), say)
    if not whole:
        return values.astype("str")
    numbers = values.infer_objects()
    outside = ((numbers > INT64.max) | (numbers < INT64.min)).to_numpy(dtype=np.bool_)
    column.refuse(outside, lambda row: f"{values.iloc[row]} does not fit 64 bits; store these ids as text")
    return numbers.astype(np.int64)


def unified_ids(
    ids: Mapping[str, "pd.Series[Any]"], from_csv: Collection[str]
) -> Mapping[str, "pd.Series[Any]"]:
    """Return ids as whole numbers if they are in every table; CSV has no types."""
    for table, values in ids.items():
        if table in from_csv:
            distinct = pd.Series(values.unique())
            whole = bool(distinct.str.fullmatch(WHOLE_NUMBER).all()) and _fit_64_bits(distinct)
        else:
            whole = values.dtype == np.int64
        if not whole:
            return ids
    return {table: values.astype(np.int64) for table, values in ids.items()}


def _fit_64_bits(texts: "pd.Series[Any]") -> bool:
    """Tell whether whole numbers as text fit int64."""
    return all(map(fits_64_bits, map(int, texts[texts.str.len() >= len(str(INT64.max))])))


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number; booleans are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def fits_64_bits(number: int) -> bool:
    """Tell whether a whole number fits int64."""
    return INT64.min <= number <= INT64.max


def is_text_id(value: Any) -> bool:
    """Tell whether a value is a valid text id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_LENGTH and "\0" not in value
