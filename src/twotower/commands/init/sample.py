"""The head of a file: its separator, its column names, and its first rows."""

import csv
import itertools
import re
from collections.abc import Set
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from twotower.config.errors import InputError
from twotower.config.problems import listed
from twotower.data.table_reader import (
    MISSING,
    READING_ERRORS,
    header,
    is_parquet,
    open_text_file,
    parse_csv,
    plain_values,
    saved_ranges,
    series,
    typed,
    unreadable,
)

NUM_ROWS, NUM_LINES = 20_000, 50
_LISTS = yaml.safe_load((files("twotower.commands.init") / "words.yaml").read_text(encoding="utf-8"))
WORDS = {kind: frozenset(words.split()) for kind, words in _LISTS["columns"].items()}
"""Kind of column, or of a part of its name -> words."""
EVENT_WORDS = {role: frozenset(words.split()) for role, words in _LISTS["events"].items()}
"""Role -> event types that have it."""
SEPARATORS = (",", ";", "\t", "|")
NUMBER = r"-?\d+([.]\d*)?([eE][-+]?\d+)?"
COUNT = re.compile(r"(?i:num|number|no)(_of|Of)?(_|(?=[A-Z]))\w")


class Column:
    """A column of a sample.

    Args:
        values: the values that are not missing.
        is_cut: whether the sample is full, so that further rows may follow.

    Attributes:
        parts: words of the name in order, without digits; endings of keys are words: `userid` -> user, id.
        words: these words, and those that were divided.
        is_key: whether the name means a key: `item_nr`, but not the count `num_items`.
        has_lists: whether the values are lists.
        distinct: the distinct values as text, the most frequent first; empty for lists.
        numbers: the values as numbers; None if one is not a number.
    """

    def __init__(self, name: str, values: "pd.Series[Any]", is_cut: bool = False) -> None:
        self.name, self.values, self.is_cut = name, values, is_cut
        spaced = re.sub(r"(?<=[a-zäöüß0-9])(?=[A-ZÄÖÜ])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", name)
        whole = re.findall(r"[^\W\d_]+", spaced.casefold())
        self.parts = [word for part in whole for word in _divided(part)]
        self.words = {*whole, *self.parts}
        self.is_key = bool(self.words & WORDS["key"]) and not COUNT.match(name)
        self.is_text = not values.empty and all(isinstance(value, str) for value in values)
        self.has_lists = not values.empty and isinstance(values.iloc[0], list | np.ndarray)
        self.distinct = [] if self.has_lists else list(values.astype("str").value_counts().index)
        numbers = typed(values) if self.is_text else values  # codes like 007 stay text
        if not values.empty and all(isinstance(value, Decimal | bool) for value in values):
            numbers = values.astype(np.float64)
        self.numbers = numbers if pd.api.types.is_numeric_dtype(numbers.dtype) else None

    def has_word(self, words: Set[str]) -> bool:
        """Return whether the name has one of several words."""
        return not self.words.isdisjoint(words)

    def ends_with(self, words: Set[str]) -> bool:
        """Return whether the last word of the name is one of several: `is_click`, not `click_os`."""
        return next((part for part in reversed(self.parts) if part not in WORDS["filler"]), "") in words

    def num_other_words(self, words: Set[str]) -> int:
        """Return the number of words of the name that are neither among several nor of a key."""
        return len({*self.parts} - WORDS["key"] - WORDS["filler"] - words)

    def single_value(self) -> str:
        """Return that the column has only one value, as a reason."""
        where = f" in the first {NUM_ROWS:,} rows" if self.is_cut else ""
        return f"it holds nothing but {self.distinct[0]!r:.40}{where}"

    def matches(self, pattern: str) -> bool:
        """Return whether all values match a pattern as text."""
        return len(self.values) > 0 and bool(self.values.astype("str").str.fullmatch(pattern).all())

    def __str__(self) -> str:
        shown = [repr(value) for value in self.distinct[:3]] or ["nothing" if self.values.empty else "lists"]
        return f"{self.name!r} ({', '.join(shown):.60})"


def _divided(part: str) -> list[str]:
    """Return a word and its ending of a key: `userid` -> user, id."""
    endings = [word for word in WORDS["key"] if part.endswith(word) and len(part) > len(word) + 1]
    if not endings or part in WORDS["no_key"]:
        return [part]
    ending = max(endings, key=len)
    return [part.removesuffix(ending), ending]


@dataclass(frozen=True)
class Sample:
    """The first rows of a file; `separator` is for CSV."""

    path: Path
    separator: str | None
    columns: dict[str, Column]


def read_sample(path: Path, separator: str | None) -> Sample:
    """Read the head of a file.

    Args:
        path: CSV or Parquet.
        separator: of CSV; None: inferred. Parquet has none.

    Raises:
        InputError: the file cannot be read, has no column names, or no single separator fits.
    """
    names = header(path, separator or ",")  # reports a missing or unsupported file
    if is_parquet(path):
        separator = None
    elif separator is None:
        separator = _separator(path)
        names = header(path, separator)
    if names and all(re.fullmatch(NUMBER, name) for name in names if name):
        raise InputError(
            f"{path}: its first line is data ({', '.join(names[:6])}), not column names; add a line of names "
            "before it, such as user_id,item_id,timestamp"
        )
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise InputError(f"{path}: more than one column is called {listed(twice)}; rename all but one")
    try:
        frame = _head(path, names, separator)
    except READING_ERRORS as error:
        raise unreadable(path, error) from error
    if frame.empty:
        raise InputError(f"{path}: it has column names but no rows")
    is_cut = len(frame) == NUM_ROWS
    columns = {name: Column(name, frame[name].dropna(), is_cut) for name in names if name and name in frame}
    return Sample(path, separator, columns)


def _head(path: Path, names: list[str], separator: str | None) -> pd.DataFrame:
    if separator is None:
        with pq.ParquetFile(path) as file:
            batches = itertools.islice(file.iter_batches(NUM_ROWS), 1)
            table = pa.Table.from_batches(batches, file.schema_arrow)
            ranges = {name: each[: len(table)] for name, each in saved_ranges(file).items()}
        values = {name: series(plain_values(table[name])) for name in table.column_names}
        return pd.DataFrame(values | ranges)
    frame: pd.DataFrame = parse_csv(path, names, separator, nrows=NUM_ROWS)
    frame = frame.set_axis(pd.Index(names, dtype=object), axis=1)
    return frame.mask(frame.isin(MISSING))


def _separator(path: Path) -> str:
    """Return the only separator with the same number of fields, at least two, in all of the first lines."""
    try:
        with open_text_file(path) as file:
            lines = [line.decode("utf-8-sig") for line in itertools.islice(file, NUM_LINES)]
        counts = {}
        for mark in SEPARATORS:
            numbers = [len(each) for each in csv.reader(lines, delimiter=mark) if any(map(str.strip, each))]
            # The last of many lines may lack the end of its record.
            counts[mark] = set(numbers[: -1 if len(lines) == NUM_LINES and len(numbers) > 1 else None])
    except (*READING_ERRORS, csv.Error) as error:
        raise unreadable(path, error) from error
    fitting = [mark for mark, numbers in counts.items() if len(numbers) == 1 and numbers != {1}]
    if len(fitting) == 1:
        return fitting[0]
    many, none = " and ".join(map(repr, fitting)), " ".join(map(repr, SEPARATORS))
    found = f"{many} both fit" if fitting else f"none of {none} fits"
    raise InputError(
        f"{path}: --separator: which character is between the fields? {found}; add --separator ';' or another"
    )
