"""The head of a file: its separator, its column names, and its first rows."""

import csv
import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.config.problems import listed
from twotower.data.table_reader import (
    MISSING,
    READING_ERRORS,
    header,
    is_parquet,
    open_text_file,
    parse_csv,
    series,
    typed,
    unreadable,
)

NUM_ROWS = 20_000
SEPARATORS = (",", ";", "\t", "|")
NUMBER = r"-?\d+([.]\d*)?([eE][-+]?\d+)?"
ID_WORDS = frozenset(
    {"id", "ids", "uid", "nr", "no", "num", "nummer", "number", "key", "code", "sku", "isbn", "asin"}
)
COUNT = re.compile(r"(?i:num|number|no)(_of|Of)?(_|(?=[A-Z]))\w")


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a sample: its name, and the values that are not missing."""

    name: str
    values: "pd.Series[Any]"

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the name; endings of keys are separate words: `UserID` -> user, id."""
        spaced = re.sub(r"(?<=[a-zäöüß0-9])(?=[A-ZÄÖÜ])", " ", self.name)
        parts = re.findall(r"[^\W_]+", spaced.casefold())
        found = set(parts)
        for part in parts:
            for word in ID_WORDS:
                if part.endswith(word) and len(part) > len(word) + 1:
                    found |= {part[: -len(word)], word}
        return frozenset(found)

    def has_word(self, words: str) -> bool:
        """Return whether the name has one of several words."""
        return not self.words.isdisjoint(words.split())

    @property
    def is_key(self) -> bool:
        """Whether the name is that of a key: `item_nr`, but not the count `num_items`."""
        return bool(self.words & ID_WORDS) and not COUNT.match(self.name)

    @cached_property
    def numbers(self) -> "pd.Series[Any] | None":
        """The values as numbers; None if one is not a number."""
        found = self.values
        if len(found) and found.map(lambda value: isinstance(value, str)).all():
            found = typed(found)  # as it will be read: codes like 007 stay text
        return found if pd.api.types.is_numeric_dtype(found.dtype) else None

    @cached_property
    def is_whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.numbers is not None and bool((self.numbers == np.floor(self.numbers)).all())

    @cached_property
    def distinct(self) -> list[str]:
        """The distinct values as text, the most frequent first; empty for lists."""
        if self.has_lists:
            return []
        return [str(value) for value in self.values.value_counts().index]

    @property
    def has_lists(self) -> bool:
        """Whether the values are lists."""
        return len(self.values) > 0 and isinstance(self.values.iloc[0], list | np.ndarray)

    def matches(self, pattern: str) -> bool:
        """Return whether all values match a pattern as text."""
        return len(self.values) > 0 and bool(self.values.astype("str").str.fullmatch(pattern).all())

    def examples(self) -> str:
        """Return a few values, for a message."""
        shown = [repr(value) for value in self.distinct[:3]] or ["nothing" if self.values.empty else "lists"]
        return f"{self.name!r} ({', '.join(shown):.60})"


@dataclass(frozen=True, eq=False)
class Sample:
    """The first rows of a file.

    Attributes:
        path: of the file.
        separator: between fields; None for Parquet.
        columns: name -> column.
    """

    path: Path
    separator: str | None
    columns: dict[str, Column]


def read_sample(path: Path, separator: str | None) -> Sample:
    """Read the head of a file.

    Args:
        path: CSV or Parquet.
        separator: of CSV; None: inferred.

    Raises:
        InputError: the file cannot be read, has no column names, or no single separator fits.
    """
    if not is_parquet(path):
        header(path, ",")  # reports a missing or unsupported file
        separator = separator or _separator(path)
    names = header(path, separator or ",")
    if names and all(re.fullmatch(NUMBER, name) for name in names if name):
        raise InputError(
            f"{path}: its first line is data ({', '.join(names[:6])}), not column names; add a line of names "
            "before it, such as user_id,item_id,timestamp"
        )
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: more than one column is called {listed(twice)}; rename all but one")
    try:
        if is_parquet(path):
            with pq.ParquetFile(path) as file:
                table = pa.Table.from_batches(
                    itertools.islice(file.iter_batches(NUM_ROWS), 1), file.schema_arrow
                )
            frame = pd.DataFrame({name: series(table[name]) for name in table.column_names})
        else:
            frame = parse_csv(path, names, separator or ",", nrows=NUM_ROWS)
            frame.columns = pd.Index(names, dtype=object)
            frame = frame.mask(frame.isin(MISSING))
    except READING_ERRORS as error:
        raise unreadable(path, error) from error
    if frame.empty:
        raise InputError(f"{path}: it has column names but no rows")
    columns = {name: Column(name, frame[name].dropna()) for name in names if name in frame}
    return Sample(path, separator, columns)


def _separator(path: Path) -> str:
    """Return the only separator with the same number of fields, at least two, in all of the first lines."""
    try:
        with open_text_file(path) as file:
            lines = [line.decode("utf-8-sig") for line in itertools.islice(file, 50) if line.strip()]
    except READING_ERRORS as error:
        raise unreadable(path, error) from error
    fitting = []
    for mark in SEPARATORS:
        counts = {len(fields) for fields in csv.reader(lines, delimiter=mark)}
        if len(counts) == 1 and counts != {1}:
            fitting.append(mark)
    if len(fitting) == 1:
        return fitting[0]
    many, none = " and ".join(map(repr, fitting)), " ".join(map(repr, SEPARATORS))
    found = f"{many} both fit" if fitting else f"none of {none} fits"
    raise InputError(
        f"{path}: --separator: which character is between the fields? {found}; add --separator ';' or another"
    )
