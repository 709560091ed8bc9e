"""CSV and Parquet files as frames: only the columns that are needed, CSV in chunks and as text."""

import contextlib
import gzip
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from twotower.config.errors import InputError
from twotower.config.problems import legible, listed
from twotower.data.parquet_file import column_names, read_columns
from twotower.data.tables import missing_columns

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
MISSING = ["", "NA", "NaN", "nan", "null", "NULL"]
FIRST_LINE = 2
"""Of the data: line 1 is the header."""
LONGEST_REASON = 300
EXACT = 2**53
"""Beyond it a float is no longer one whole number."""

FILLED = ""
"""Column of a chunk, of a name that no column of a file has: whether anything stands in the line."""

PARSING: dict[str, Any] = {"index_col": False, "dtype": "str", "na_filter": False, "skip_blank_lines": False}
"""Every field as the text it is: what is missing is decided afterwards, by column."""

READING_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    UnicodeError,
    pd.errors.ParserError,
    pd.errors.ParserWarning,
    pd.errors.EmptyDataError,
    pa.ArrowException,
)


def is_parquet(path: Path) -> bool:
    """Tell whether a file is read as Parquet; otherwise as CSV."""
    return path.name.lower().endswith(PARQUET)


def check_kind(path: Path) -> None:
    """Refuse a path without a file, or with one whose name says no kind that is known.

    Raises:
        InputError: it is one of these.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path} (looked in {Path.cwd()})")
    if not path.name.lower().endswith((*PARQUET, *CSV)):
        raise InputError(f"{path}: unknown kind of file; expected {', '.join((*PARQUET, *CSV))}")


def header(path: Path, separator: str) -> list[str]:
    """Return the columns of a file that have a name, without reading its rows.

    The index that pandas saves has none: in CSV nothing stands above it, in Parquet `__index_level_0__`.

    Raises:
        InputError: the file is not there, of an unknown kind, or not readable.
    """
    return [name for name in _fields(path, separator) if name]


def column_problems(present: Sequence[str], needed: Iterable[str]) -> list[str]:
    """Return what to say about needed columns that a file does not have, or has more than once."""
    names = list(dict.fromkeys(needed))
    missing = missing_columns(present, names)
    counts = Counter(present)
    twice = [name for name in names if counts[name] > 1]
    found = [missing] if missing else []
    return found + ([f"more than one column is called {listed(twice)}; rename all but one"] if twice else [])


def read(
    path: Path, columns: Sequence[str], separator: str, chunk_rows: int, whole: Sequence[str]
) -> pd.DataFrame:
    """Return some columns of a file.

    Args:
        path: of the file.
        columns: to read.
        separator: of CSV.
        chunk_rows: rows of CSV parsed at a time.
        whole: columns in which only an empty field is missing, words like NA are values.

    Returns:
        Parquet: as typed there. CSV: all text, indexed by "line"; empty lines at the end are dropped.

    Raises:
        InputError: the file lacks a column, has it twice or is not readable.
    """
    fields = _fields(path, separator)
    for problem in column_problems(fields, columns):
        raise InputError(f"{path}: {problem}")
    try:
        if is_parquet(path):
            return read_columns(path, columns)
        places = {name: fields.index(name) for name in columns}
        frame = pd.concat(list(_chunks(path, places, len(fields), separator, chunk_rows)))
    except READING_ERRORS as error:
        raise _unreadable(path, error) from error
    frame.index = pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(frame), name="line")
    filled = frame.pop(FILLED).to_numpy()
    frame = frame.iloc[: len(frame) - int(filled[::-1].argmax()) if filled.any() else 0]
    return frame.assign(
        **{name: frame[name].mask(frame[name].isin([""] if name in whole else MISSING)) for name in columns}
    )


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


def _chunks(
    path: Path, places: dict[str, int], num_fields: int, separator: str, chunk_rows: int
) -> Iterator[pd.DataFrame]:
    # Without `usecols`, which would let lines with too many fields pass.
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        chunks = pd.read_csv(
            path, sep=separator, header=0, names=list(range(num_fields)), chunksize=chunk_rows, **PARSING
        )
        with chunks:
            for chunk in chunks:
                frame = chunk[list(places.values())].set_axis(pd.Index(list(places), dtype=object), axis=1)
                frame[FILLED] = (chunk != "").any(axis=1)
                yield frame


def _fields(path: Path, separator: str) -> list[str]:
    """Return the names of all columns, "" where a column has none."""
    check_kind(path)
    try:
        if is_parquet(path):
            return column_names(path)
        first = pd.read_csv(path, sep=separator, header=None, nrows=1, **PARSING)
        return [str(name) for name in first.iloc[0]]
    except READING_ERRORS as error:
        raise _unreadable(path, error) from error


def _undecodable_line(path: Path) -> int | None:
    """Return the number of the first line that is not UTF-8."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with contextlib.suppress(OSError, EOFError, zlib.error), opened(path, "rb") as file:  # maybe damaged too
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeError:
                return number
    return None


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = legible(" ".join(str(error).split()), LONGEST_REASON) or type(error).__name__
    if isinstance(error, UnicodeError):
        reason += "; save the file as UTF-8"
        line = None if is_parquet(path) else _undecodable_line(path)
        reason = f"line {line}: {reason}" if line else reason
    elif isinstance(error, pd.errors.EmptyDataError):
        reason = "its first line is empty; it must name the columns"
    elif isinstance(error, EOFError | zlib.error):
        reason += "; the file is cut short or damaged: copy or make it anew"
    elif isinstance(error, pd.errors.ParserWarning):
        reason = f"line {FIRST_LINE} has more fields than the header has names; make them as many"
    return InputError(f"{path}: cannot be read as {'Parquet' if is_parquet(path) else 'CSV'}: {reason}")
