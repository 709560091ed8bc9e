"""CSV and Parquet files as frames: only the columns that are needed, CSV in chunks and as text."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.data.tables import missing_columns
from twotower.errors import InputError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
MISSING = ["", "NA", "NaN", "nan", "null", "NULL"]
FIRST_LINE = 2
"""Of the data: line 1 is the header."""

READING_ERRORS = (OSError, UnicodeError, pd.errors.ParserError, pd.errors.EmptyDataError, pa.ArrowException)


def is_parquet(path: Path) -> bool:
    """Tell whether a file is read as Parquet; otherwise as CSV."""
    return path.name.lower().endswith(PARQUET)


def header(path: Path, separator: str) -> list[str]:
    """Return the columns of a file, without reading its rows.

    Raises:
        InputError: the file is not there, of an unknown kind, or not readable.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path} (looked in {Path.cwd()})")
    if not path.name.lower().endswith((*PARQUET, *CSV)):
        raise InputError(f"{path}: unknown kind of file; expected {', '.join((*PARQUET, *CSV))}")
    try:
        if is_parquet(path):
            return [str(name) for name in pq.read_schema(path).names]
        return [str(name) for name in pd.read_csv(path, sep=separator, nrows=0, dtype="str").columns]
    except READING_ERRORS as error:
        raise _unreadable(path, error) from error


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
        InputError: the file lacks a column or is not readable.
    """
    problem = missing_columns(header(path, separator), columns)
    if problem:
        raise InputError(f"{path}: {problem}")
    try:
        if is_parquet(path):
            table: pd.DataFrame = pq.read_table(path, columns=list(columns)).to_pandas()
            return table.reset_index(drop=True)
        frame = pd.concat(list(_chunks(path, columns, separator, chunk_rows, whole)))
    except READING_ERRORS as error:
        raise _unreadable(path, error) from error
    frame.index = pd.RangeIndex(FIRST_LINE, FIRST_LINE + len(frame), name="line")
    filled = frame.notna().any(axis=1).to_numpy()
    return frame.iloc[: len(frame) - int(filled[::-1].argmax()) if filled.any() else 0]


def typed(values: pd.Series) -> pd.Series:
    """Return a text column as numbers, if each of its values is one; codes like 007 stay text."""
    present = values.dropna()
    if present.str.fullmatch(r"-?0\d+").any():
        return values
    numbers = pd.to_numeric(present, errors="coerce")
    return values if numbers.isna().any() or len(present) == 0 else pd.to_numeric(values)


def _chunks(
    path: Path, columns: Sequence[str], separator: str, chunk_rows: int, whole: Sequence[str]
) -> Iterator[pd.DataFrame]:
    # Without `usecols`, which would let lines with too many fields pass.
    missing = {column: [""] if column in whole else MISSING for column in columns}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        chunks = pd.read_csv(
            path,
            sep=separator,
            index_col=False,
            dtype="str",
            keep_default_na=False,
            na_values=missing,
            skip_blank_lines=False,
            chunksize=chunk_rows,
        )
        with chunks:
            yield from (chunk[list(columns)] for chunk in chunks)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().replace("\n", " ") or type(error).__name__
    if isinstance(error, UnicodeError):
        reason += "; save the file as UTF-8"
    return InputError(f"{path}: cannot be read as {'Parquet' if is_parquet(path) else 'CSV'}: {reason}")
