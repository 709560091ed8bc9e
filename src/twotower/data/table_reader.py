"""CSV and Parquet files as frames: only the columns that are needed, CSV in chunks and as text.

Parquet is read as Arrow types it: what pandas noted about a file may be odd, and hides the index it saved.
"""

import contextlib
import gzip
import json
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from twotower.config.errors import InputError
from twotower.config.problems import legible, listed
from twotower.data.table_paths import TablePath, opened
from twotower.data.tables import missing_columns


def _column_names(path: TablePath) -> list[str]:
    with opened(path) as source, pq.ParquetFile(source) as file:
        names = [str(name) for name in [*file.schema_arrow.names, *ranges_of(file)]]
    return ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in names]


def _read_columns(path: TablePath, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns, each of which the file has once; whole numbers with gaps are no floats."""
    with opened(path) as source, pq.ParquetFile(source) as file:
        ranges = ranges_of(file)
        stored = [name for name in columns if name not in ranges]
        table = file.read(columns=stored).select(stored)
        num_rows = file.metadata.num_rows
    table.validate(full=True)
    found = {name: ranges[name] if name in ranges else series(table[name]) for name in columns}
    return pd.DataFrame(found, index=pd.RangeIndex(num_rows), columns=list(columns))


def ranges_of(file: pq.ParquetFile) -> dict[str, range]:
    """Return the columns that pandas saves as three numbers: an index whose values are evenly apart."""
    schema = file.schema_arrow
    try:
        notes = json.loads(schema.metadata[b"pandas"])["index_columns"]
        spans = [note for note in notes if isinstance(note, dict) and note["kind"] == "range"]
        found = {note["name"]: range(note["start"], note["stop"], note["step"]) for note in spans}
        return {
            name: values
            for name, values in found.items()
            if isinstance(name, str) and name not in schema.names and len(values) == file.metadata.num_rows
        }
    except (KeyError, TypeError, ValueError, OverflowError):  # no notes, or odd ones
        return {}


def series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """Return a column: one of somebody's own type as it is stored, a categorical one as its values."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    gaps = pa.types.is_integer(column.type) and column.null_count > 0

    def with_gaps(kind: pa.DataType) -> Any:
        return pd.api.types.pandas_dtype(str(kind).replace("uint", "UInt").replace("int", "Int"))

    values: pd.Series[Any] = column.to_pandas(types_mapper=with_gaps if gaps else None)
    return values


PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
MISSING = ["", "NA", "NaN", "nan", "null", "NULL"]
FIRST_LINE = 2  # of the data: line 1 is the header
LONGEST_REASON = 300
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


def _separator(setting: str) -> str:
    mark = "\t" if setting == r"\t" else setting
    if len(mark) == 1 and mark.isascii() and mark not in '"\r\n\0':  # which mean something else in CSV
        return mark
    raise PydanticCustomError("separator", r"one ASCII character (\t for a tab)")


Separator = Annotated[str, AfterValidator(_separator)]
r"""What stands between the fields of CSV; `\t`, two characters, is how a command line writes a tab."""


def is_parquet(path: TablePath) -> bool:
    """Tell whether a file is read as Parquet; otherwise as CSV."""
    return path.name.lower().endswith(PARQUET)


def header(path: TablePath, separator: str) -> list[str]:
    """Return the names of all columns without reading rows; an InputError of a file that cannot be read.

    What pandas saves of an index is "": nothing stands above it in CSV, `__index_level_0__` in Parquet.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path} (looked in {Path.cwd()})")
    if not path.name.lower().endswith((*PARQUET, *CSV)):
        raise InputError(f"{path}: unknown kind of file; expected {', '.join((*PARQUET, *CSV))}")
    try:
        if is_parquet(path):
            return _column_names(path)
        if not isinstance(path, Path):
            raise InputError(f"{path}: only Parquet is read from an address; copy the file here")
        first = pd.read_csv(path, sep=separator, header=None, nrows=1, **PARSING)
        return [str(name) for name in first.iloc[0]]
    except READING_ERRORS as error:
        raise unreadable(path, error) from error


def header_problems(path: TablePath, names: Sequence[str], needed: Iterable[str]) -> list[str]:
    """Return what to say about needed columns that a file does not have, or has more than once."""
    needed = list(dict.fromkeys(needed))
    counts = Counter(names)
    twice = [name for name in needed if counts[name] > 1]
    missing = missing_columns([name for name in names if name], needed)
    found = [missing] if missing else []
    found += [f"more than one column is called {listed(twice)}; rename all but one"] if twice else []
    mark = next((mark for mark in "\t;|," if mark in names[0]), None) if len(names) == 1 else None
    hint = f"; if {mark!r} stands between its fields, set data.separator={mark!r}"
    return [f"{path}: {problem}{hint if mark and not is_parquet(path) else ''}" for problem in found]


def read(
    path: TablePath, columns: Sequence[str], separator: str, chunk_rows: int, ids: Collection[str]
) -> pd.DataFrame:
    """Return some columns of a file: of Parquet as typed there, of CSV all text, indexed by "line".

    In `ids` only an empty field is missing, words like NA are values; empty lines at the end are dropped. An
    InputError says which column the file lacks or has twice, or why it is not readable.
    """
    names = header(path, separator)
    for problem in header_problems(path, names, columns):
        raise InputError(problem)
    try:
        if is_parquet(path):
            return _read_columns(path, columns)
        assert isinstance(path, Path)  # as header sees to
        frame, is_filled = _read_csv(path, names, columns, separator, chunk_rows)
    except READING_ERRORS as error:
        raise unreadable(path, error) from error
    frame.index = pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(frame), name="line")
    frame = frame.iloc[: int(is_filled.nonzero()[0].max(initial=-1)) + 1]
    return frame.assign(
        **{name: frame[name].mask(frame[name].isin([""] if name in ids else MISSING)) for name in columns}
    )


def tags(values: "pd.Series[Any]", separator: str) -> "pd.Series[Any]":
    """Return text as lists of the parts between separators; lists and missing values stay as they are."""

    def split(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(separator) if part.strip()]

    return pd.Series([split(value) for value in values], index=values.index, dtype=object)


def typed(values: pd.Series) -> pd.Series:
    """Return a text column as numbers, if each of its values is one; codes like 007 stay text.

    So do whole numbers beyond 64 bits. Whole numbers with gaps stay whole.
    """
    present = values.dropna()
    if present.str.fullmatch(r"-?0\d+").any():
        return values
    numbers = pd.to_numeric(present, errors="coerce")
    if numbers.isna().any() or len(present) == 0:
        return values
    if present.str.fullmatch(r"-?\d+").all():
        if numbers.dtype != np.int64:
            return values
        return numbers if len(present) == len(values) else numbers.astype("Int64").reindex(values.index)
    return pd.to_numeric(values)


def _read_csv(
    path: Path, names: list[str], columns: Sequence[str], separator: str, chunk_rows: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return columns of a file, and in which lines anything stands, in those columns or others."""
    # Without `usecols`, which would let lines with too many fields pass.
    places = [names.index(name) for name in columns]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        with pd.read_csv(
            path, sep=separator, header=0, names=range(len(names)), chunksize=chunk_rows, **PARSING
        ) as chunks:
            parts = [(chunk[places], (chunk != "").any(axis=1).to_numpy()) for chunk in chunks]
    frame = pd.concat([frame for frame, _ in parts]).set_axis(pd.Index(list(columns), dtype=object), axis=1)
    return frame, np.concatenate([is_filled for _, is_filled in parts])


def _undecodable_line(path: Path) -> int | None:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with contextlib.suppress(OSError, EOFError, zlib.error), opened(path, "rb") as file:  # maybe damaged too
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeError:
                return number
    return None


def unreadable(path: TablePath, error: Exception) -> InputError:
    """Return what to say of a file that cannot be read."""
    reason = legible(" ".join(str(error).split()), LONGEST_REASON) or type(error).__name__
    if isinstance(error, UnicodeError):
        reason += "; save the file as UTF-8"
        line = _undecodable_line(path) if isinstance(path, Path) and not is_parquet(path) else None
        reason = f"line {line}: {reason}" if line else reason
    elif isinstance(error, pd.errors.EmptyDataError):
        empty = isinstance(path, Path) and path.stat().st_size == 0
        reason = "the file is empty" if empty else "its first line is empty; it must name the columns"
    elif isinstance(error, EOFError | zlib.error):
        reason += "; the file is cut short or damaged: copy or make it anew"
    elif isinstance(error, pd.errors.ParserWarning):
        reason = f"line {FIRST_LINE} has more fields than the header has names; make them as many"
    return InputError(f"{path}: cannot be read as {'Parquet' if is_parquet(path) else 'CSV'}: {reason}")
