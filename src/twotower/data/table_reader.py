"""The files of a table as frames: only the columns that are needed, CSV in chunks and as text.

Parquet is read with its Arrow types, because pandas metadata may be wrong and hides a saved index.
"""

import glob
import gzip
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from twotower.config.errors import InputError
from twotower.config.problems import legible, listed
from twotower.data.tables import missing_columns

PARQUET = (".parquet", ".pq")
ENDINGS = (*PARQUET, ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
MISSING = ["", "NA", "NaN", "nan", "null", "NULL"]
WHOLE_OR_ZERO = r"(?<=\d)\.0*$|^-(?=[0.]+$)"  # the ending of 1.0, the sign of -0
CHUNK_ROWS = 1_000_000  # rows of CSV that are parsed at once
MAX_REASON = 300  # characters
PARSING: dict[str, Any] = {"index_col": False, "dtype": "str", "na_filter": False, "skip_blank_lines": False}
"""Options that read every field of CSV as text; missing values are decided afterwards, by column."""
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


def field_separator(setting: str) -> str:
    """Return the separator of CSV fields that a setting names; raises ValueError for others."""
    mark = "\t" if setting == r"\t" else setting
    if len(mark) == 1 and mark.isascii() and mark not in '"\r\n\0':  # these have another meaning in CSV
        return mark
    raise PydanticCustomError("separator", r"one ASCII character (\t for a tab)")


Separator = Annotated[str, AfterValidator(field_separator)]
r"""Separator of CSV fields; the two characters `\t` are a tab."""


def is_parquet(path: Path) -> bool:
    """Return whether a file is read as Parquet; otherwise as CSV."""
    return path.name.lower().endswith(PARQUET)


def table_paths(setting: str | Sequence[str]) -> list[Path]:
    """Return the files that a setting names: a list in its order, folders and patterns sorted by name.

    A folder stands for all tables in it and its subfolders, a pattern (`*`, `?`, `**`) for those that match.
    Names that begin with a dot or an underscore are skipped. A single file may be missing. Raises InputError
    if a folder or a pattern has no table, or a list has a file twice.
    """
    if not isinstance(setting, str):
        paths = [path for each in setting for path in table_paths(each)]
        counts = Counter(path.resolve() for path in paths)
        if twice := next((path for path in paths if counts[path.resolve()] > 1), None):
            raise InputError(f"{twice}: the list has this file more than once; name each file once")
        return paths
    if (folder := Path(setting)).is_dir():
        root, found = folder, list(folder.rglob("*"))
    elif any(mark in setting for mark in "*?[") and not folder.exists():
        literal, _ = re.split(r"[*?[]", setting, maxsplit=1)
        root = Path(f"{literal}*").parent  # the folders before the first wildcard, which may be hidden
        found = [Path(name) for name in glob.glob(setting, recursive=True)]  # noqa: PTH207 - of any root
    else:
        return [folder]
    tables = {
        str(path.relative_to(root)): path
        for path in found
        if path.name.lower().endswith(ENDINGS)
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)
    }
    if not tables:
        raise InputError(
            f"{setting}: no file ends in {', '.join(ENDINGS)}; name a file, a folder of "
            "files or a pattern such as log/*.parquet"
        )
    return [tables[name] for name in sorted(tables)]


def open_text_file(path: Path) -> IO[bytes]:
    """Open a text file, plain or `.gz`, for bytes."""
    return cast(IO[bytes], gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def header(path: Path, separator: str) -> list[str]:
    """Return the names of all columns without reading rows; raises InputError if the file cannot be read.

    The name of an index that pandas has saved is "".
    """
    if not path.is_file():
        raise InputError(f"there is no file {path} (looked in {Path.cwd()})")
    if not path.name.lower().endswith(ENDINGS):
        raise InputError(f"{path}: unknown kind of file; expected {', '.join(ENDINGS)}")
    try:
        if is_parquet(path):
            with pq.ParquetFile(path) as file:
                names = [*file.schema_arrow.names, *saved_ranges(file)]
            return ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in names]
        first = pd.read_csv(path, sep=separator, header=None, nrows=1, **PARSING)
        return [str(name) for name in first.iloc[0]]
    except READING_ERRORS as error:
        raise unreadable(path, error) from error


def _header_problems(path: Path, names: Sequence[str], needed: Iterable[str]) -> list[str]:
    """Return messages about needed columns that a file lacks or has more than once."""
    needed = list(dict.fromkeys(needed))
    counts = Counter(names)
    repeated = [name for name in needed if counts[name] > 1]
    missing = missing_columns([name for name in names if name], needed)
    problems = [missing] if missing else []
    problems += [f"more than one column is called {listed(repeated)}; rename all but one"] if repeated else []
    mark = next((mark for mark in "\t;|," if mark in names[0]), None) if len(names) == 1 else None
    hint = f"; if {mark!r} separates its fields, set data.separator={mark!r}"
    return [f"{path}: {problem}{hint if mark and not is_parquet(path) else ''}" for problem in problems]


def table_problems(
    table: str,
    setting: str | Sequence[str],
    separator: str,
    needed: Mapping[str, Sequence[str] | None],
) -> list[tuple[str, str]]:
    """Return mistakes in the files of a table as (setting, message); reads headers only.

    `needed`: setting -> required columns; None for all columns of the first file, to which later files must
    not add any.
    """
    try:
        paths = table_paths(setting)
        headers = [header(path, separator) for path in paths]
    except InputError as error:
        return [(f"{table}_path", str(error))]
    required = {key: headers[0] if columns is None else columns for key, columns in needed.items()}
    problems = [
        (key, problem)
        for path, names in zip(paths, headers, strict=True)
        for key, columns in required.items()
        for problem in _header_problems(path, names, filter(None, columns))
    ]
    csv = [path for path in paths if not is_parquet(path)]
    if 0 < len(csv) < len(paths):
        problems.append((f"{table}_path", f"{csv[0]} is CSV, another is Parquet; save all in one format"))
    if not problems and None in needed.values():
        (key,) = [key for key, columns in needed.items() if columns is None]
        for path, names in zip(paths, headers, strict=True):
            if new := [name for name in names if name and name not in headers[0]]:
                message = f"{path}: column {new[0]!r} is not in {paths[0]}; add it there, or name"
                problems.append((key, f"{message} the columns to read"))
    return problems


def read_table(
    paths: Sequence[Path],
    columns: Sequence[str],
    separator: str,
    ids: Collection[str],
    replaced: str | None = None,
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Read the files of a table as one, see `read_file`.

    Also return the `file_starts` of `SourceColumn`, [] for a single file. Rows with the same value in the
    column `replaced` as a row of a later file are left out.
    """
    frames = [read_file(path, columns, separator, ids) for path in paths]
    if len(frames) == 1:
        return frames[0], []
    if replaced is not None:
        later: set[Any] = set()
        for position, frame in reversed([*enumerate(frames)]):
            if is_parquet(paths[0]):
                frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
            frames[position] = frame[~frame[replaced].isin(later)]
            later.update(frame[replaced])
    lengths = [len(frame) for frame in frames]
    ends = np.cumsum(lengths).tolist()
    starts = [(end - n, str(path)) for end, n, path in zip(ends, lengths, paths, strict=True) if n]
    return pd.concat(frames, ignore_index=frames[0].index.name is None), starts


def read_file(path: Path, columns: Sequence[str], separator: str, ids: Collection[str]) -> pd.DataFrame:
    """Read some columns of a file: Parquet with its types, CSV as text with the index "line".

    In CSV, `ids` are missing only if the field is empty; other columns also if it is a word such as NA. Empty
    lines at the end are dropped. Raises InputError if the file lacks a column or cannot be read.
    """
    names = header(path, separator)
    for problem in _header_problems(path, names, columns):
        raise InputError(problem)
    try:
        if is_parquet(path):
            return _read_parquet(path, columns)
        frame, is_filled = _read_csv(path, names, columns, separator)
    except READING_ERRORS as error:
        raise unreadable(path, error) from error
    frame = frame.iloc[: int(is_filled.nonzero()[0].max(initial=-1)) + 1]
    return frame.assign(
        **{name: frame[name].mask(frame[name].isin([""] if name in ids else MISSING)) for name in columns}
    )


def _read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns; whole numbers with missing values stay whole."""
    with pq.ParquetFile(path) as file:
        values: dict[str, Any] = dict(saved_ranges(file))
        table = file.read(columns=[name for name in columns if name not in values])
        index = pd.RangeIndex(file.metadata.num_rows)
    table.validate(full=True)
    values |= {name: series(plain_values(table[name])) for name in table.column_names}
    return pd.DataFrame(values, index=index, columns=list(columns))


def saved_ranges(file: pq.ParquetFile) -> dict[str, range]:
    """Return the index columns that pandas has saved as start, stop and step, not as values.

    pandas saves the index of `set_index` so if its values are equally spaced.
    """
    schema = file.schema_arrow
    notes = (schema.pandas_metadata or {}).get("index_columns", [])
    spans = {note["name"]: note for note in notes if isinstance(note, dict) and note["name"] is not None}
    ranges = {name: range(span["start"], span["stop"], span["step"]) for name, span in spans.items()}
    num_rows = file.metadata.num_rows  # another program may have changed the rows, and not the metadata
    return {name: each for name, each in ranges.items() if name not in schema.names and len(each) == num_rows}


def plain_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return an Arrow column: an extension type as it is stored, a dictionary as its values."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """Return plain Arrow values for pandas; whole numbers with gaps get a nullable type."""

    def nullable(kind: pa.DataType) -> Any:
        return pd.api.types.pandas_dtype(str(kind).replace("uint", "UInt").replace("int", "Int"))

    has_gaps = pa.types.is_integer(column.type) and column.null_count > 0
    values: pd.Series[Any] = column.to_pandas(types_mapper=nullable if has_gaps else None)
    return values


def id_kind(kind: pa.DataType) -> str | None:
    """Return whether an Arrow type holds "whole numbers" or "text", plain or as a dictionary; else None."""
    if pa.types.is_dictionary(kind):
        return id_kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "whole numbers"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def parse_csv(path: Path, names: Sequence[str], separator: str, **options: Any) -> Any:
    """Return the data lines of CSV as text, one column per name; with `chunksize`, an iterator of chunks.

    Columns are numbered, because names may repeat.
    """
    return pd.read_csv(path, sep=separator, header=0, names=range(len(names)), **PARSING, **options)


def _read_csv(
    path: Path, names: list[str], columns: Sequence[str], separator: str
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return some columns with the index "line", and which rows have a value in any column, bool [n]."""
    positions = [names.index(name) for name in columns]  # not `usecols`, which accepts lines with more fields
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        with parse_csv(path, names, separator, chunksize=CHUNK_ROWS) as chunks:
            parts = [
                (chunk[positions], (chunk != "").any(axis=1).to_numpy(), _num_lines(chunk))
                for chunk in chunks
            ]
    frames, is_filled, num_lines = map(list, zip(*parts, strict=True))
    frame: pd.DataFrame = pd.concat(frames).set_axis(pd.Index(list(columns), dtype=object), axis=1)
    first, lines = 2 + "".join(names).count("\n"), np.concatenate(num_lines)  # the header is line 1
    frame.index = pd.Index(first + np.cumsum(lines) - lines, name="line")
    return frame, np.concatenate(is_filled)


def _num_lines(rows: pd.DataFrame) -> np.ndarray:
    """Return the number of lines of each row, int64 [n]: 1 and the line breaks within its fields."""
    lines = np.ones(len(rows), dtype=np.int64)
    for name in rows:
        if rows[name].str.contains("\n", regex=False).any():
            lines += rows[name].str.count("\n").to_numpy()
    return lines


def typed(values: pd.Series) -> pd.Series:
    """Return a text column as numbers if each value is a number; whole numbers with gaps stay whole.

    Codes like 007 and whole numbers beyond 64 bits stay text.
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
        if len(present) == len(values):
            return numbers
        integers = pd.Series(pd.NA, index=values.index, dtype="Int64")
        integers[values.notna().to_numpy()] = numbers.to_numpy()  # by position: lines of several files repeat
        return integers
    return pd.to_numeric(values)


def texts_of_one_number(values: pd.Series) -> list[str]:
    """Return two texts of the same number among texts of numbers, such as 1.1 and 1.10; [] if all differ.

    Then they may be codes, such as versions. `1` and `1.0` count as one text, as do `0` and `-0`.
    """
    texts = pd.Series(values.dropna().unique()).str.replace(WHOLE_OR_ZERO, "", regex=True).drop_duplicates()
    numbers = pd.to_numeric(texts)
    return texts[numbers.isin(numbers[numbers.duplicated()].iloc[:1])].iloc[:2].tolist()


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error of a file that cannot be read."""
    reason = legible(" ".join(str(error).split()), MAX_REASON) or type(error).__name__
    reason += "; save the file as UTF-8" if isinstance(error, UnicodeError) else ""
    return InputError(f"{path}: cannot be read as {'Parquet' if is_parquet(path) else 'CSV'}: {reason}")
