"""Copies of somebody's CSV and Parquet files with rows added or changed, in the files' own form.

What was there stays as it is: the bytes of a CSV to which rows are added, the types of Parquet.
"""

import contextlib
import csv
import datetime
import gzip
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.table_reader import PARSING, header, is_parquet, ranges_of
from twotower.data.times import TimestampUnit

Row = Mapping[str, Any]
"""SourceColumn -> a plain value; None, or no entry, leaves the field empty."""
GROUP_ROWS = 1_000_000


def append_rows(source: Path, target: Path, rows: Sequence[Row], separator: str) -> None:
    """Copy a table and add rows at its end; columns that a row does not name are empty.

    Raises InputError: a value does not fit the type of its column in Parquet.
    """
    if is_parquet(source):
        if _has_ranges(source):
            whole = _whole(source)
            pq.write_table(pa.concat_tables([whole, _typed(rows, whole.schema, source)]), target)
            return
        with pq.ParquetFile(source) as file:
            schema = file.schema_arrow.remove_metadata()
            added = _typed(rows, schema, source)
            with pq.ParquetWriter(target, schema) as writer:
                for group in file.iter_batches(GROUP_ROWS):
                    writer.write_batch(pa.RecordBatch.from_arrays(group.columns, schema=schema))
                writer.write_table(added)
        return
    shutil.copyfile(source, target)
    if rows:
        names = header(source, separator)
        with _appending(target) as file:
            file.write(_csv_text([[row.get(name) for name in names] for row in rows], separator))


def change_rows(source: Path, target: Path, rows: Mapping[str, Row], key: str, separator: str) -> None:
    """Copy a table of users or items with rows changed, by the text of their id, where it has them.

    A column that a row names takes its value; the others keep theirs.
    """
    if is_parquet(source):
        table = _whole(source)
        changed = [dict(row) | dict(rows.get(str(row[key]), {})) for row in table.to_pylist()]
        pq.write_table(_typed(changed, table.schema, source), target)
        return
    names = header(source, separator)
    frame = pd.read_csv(source, sep=separator, header=0, names=range(len(names)), **PARSING)
    lines = frame.to_numpy(dtype=object).tolist()
    for line in lines:
        for name, value in rows.get(line[names.index(key)], {}).items():
            line[names.index(name)] = value
    with gzip.open(target, "wb") if _is_gzip(target) else target.open("wb") as file:
        cast(IO[bytes], file).write(_csv_text([names, *lines], separator))


def time_value(seconds: int, unit: TimestampUnit, kind: pa.DataType | None) -> Any:
    """Return a time as its column holds times: a number, an ISO text, or a time where Parquet has such.

    Args:
        seconds: since 1970.
        unit: of the column.
        kind: its type in Parquet, None in CSV.

    Raises:
        InputError: the column has dates, to which a time of day cannot be added.
    """
    if unit != "iso":
        return seconds * (1000 if unit == "ms" else 1)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    if kind is not None and pa.types.is_timestamp(kind):
        return moment if kind.tz else moment.replace(tzinfo=None)
    if kind is not None and pa.types.is_date(kind):
        raise InputError("it holds dates without a time of day; save times, so that events can be added")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _has_ranges(source: Path) -> bool:
    with pq.ParquetFile(source) as file:
        return bool(ranges_of(file))


def _whole(source: Path) -> pa.Table:
    """Read a table with the columns that pandas keeps as three numbers, which would be lost otherwise."""
    with pq.ParquetFile(source) as file:
        table = file.read().replace_schema_metadata(None)
        for name, values in ranges_of(file).items():
            table = table.append_column(name, pa.array(values, type=pa.int64()))
    return table


def _typed(rows: Sequence[Row], schema: pa.Schema, source: Path) -> pa.Table:
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"{source}: a live value does not fit its column's type: {error!s:.200}") from error


def _csv_text(lines: Sequence[Sequence[Any]], separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[IO[bytes]]:
    """Open a CSV to write on at the beginning of a line; of gzip that is one more member."""
    with gzip.open(path, "rb") if _is_gzip(path) else path.open("rb") as before:
        ended = _last_byte(cast(IO[bytes], before)) in (b"\n", b"")
    with gzip.open(path, "ab") if _is_gzip(path) else path.open("ab") as file:
        binary = cast(IO[bytes], file)
        if not ended:
            binary.write(b"\n")
        yield binary


def _last_byte(file: IO[bytes]) -> bytes:
    last = b""
    while chunk := file.read(2**20):
        last = chunk[-1:]
    return last
