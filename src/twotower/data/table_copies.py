"""Copies of CSV and Parquet files with rows added or changed, in the format of the file."""

import csv
import datetime
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.table_reader import header, is_parquet, open_text_file, parse_csv, saved_ranges
from twotower.data.times import TimestampUnit

Row = Mapping[str, Any]
"""Column -> plain value; a missing column or None is an empty field."""

MAX_BLANK_LINE = 4_096
"""Bytes at the end of a CSV that are searched for its last line."""


def append_rows(source: Path, target: Path, rows: Sequence[Row], separator: str) -> None:
    """Copy a table and add rows at its end; a CSV keeps its bytes, Parquet its types.

    Raises InputError if a value does not fit the type of its column in Parquet.
    """
    if is_parquet(source):
        table = _whole_table(source)
        pq.write_table(pa.concat_tables([table, _typed_table(rows, table.schema, source)]), target)
        return
    shutil.copyfile(source, target)
    if rows:
        names, end = header(source, separator), b""
        with open_text_file(source) as file:
            while chunk := file.read(2**20):
                end = (end + chunk)[-MAX_BLANK_LINE:]
        blank = separator.encode() + b"\r\n"
        is_blank = not b"".join(end.splitlines()[-1:]).strip(blank)
        if is_blank:
            _copy_without_blank_end(source, target, blank)
        with open_text_file(target, "ab") as file:  # of gzip, this adds a member
            file.write(b"" if is_blank or end.endswith(b"\n") else b"\n")
            file.write(_csv_text([[row.get(name) for name in names] for row in rows], separator))


def _copy_without_blank_end(source: Path, target: Path, blank: bytes) -> None:
    """Copy a text file without the lines of `blank` bytes at its end, after which rows would not be read."""
    with open_text_file(source) as file, open_text_file(target, "wb") as copy:
        held = b""
        for line in file:
            kept = line.rstrip(b"\r\n") if line.strip(blank) else b""
            if kept:
                copy.write(held + kept)
                held = b""
            held += line[len(kept) :]
        copy.write(b"\n")


def change_rows(source: Path, target: Path, rows: Mapping[str, Row], key: str, separator: str) -> None:
    """Copy a table of users or items with some values changed.

    `rows`: id, in the column `key`, as text -> the changed columns; ids that the table lacks are ignored.
    """
    if is_parquet(source):
        table = _whole_table(source)
        changed = [dict(row) | dict(rows.get(str(row[key]), {})) for row in table.to_pylist()]
        pq.write_table(_typed_table(changed, table.schema, source), target)
        return
    names = header(source, separator)
    lines = parse_csv(source, names, separator).to_numpy(dtype=object).tolist()
    while lines and not any(lines[-1]):  # after blank lines, rows would not be read
        lines.pop()
    for line in lines:
        for name, value in rows.get(line[names.index(key)], {}).items():
            line[names.index(name)] = value
    with open_text_file(target, "wb") as file:
        file.write(_csv_text([names, *lines], separator))


def time_value(seconds: int, unit: TimestampUnit, kind: pa.DataType | None) -> Any:
    """Return a time as a column holds it: a number, an ISO 8601 text, or a time of Parquet.

    `kind` is the type of the column in Parquet, None in CSV. Raises InputError if the column has dates, to
    which a time of day cannot be added.
    """
    if unit != "iso":
        return seconds * (1000 if unit == "ms" else 1)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    if kind is not None and pa.types.is_timestamp(kind):
        return moment if kind.tz else moment.replace(tzinfo=None)
    if kind is not None and pa.types.is_date(kind):
        raise InputError("it holds dates without a time of day; save times, so that events can be added")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _whole_table(source: Path) -> pa.Table:
    """Read a table with the columns that pandas has saved as ranges, which would be lost otherwise."""
    with pq.ParquetFile(source) as file:
        table = file.read().replace_schema_metadata(None)
        for name, values in saved_ranges(file).items():
            table = table.append_column(name, pa.array(values, type=pa.int64()))
    return table


def _typed_table(rows: Sequence[Row], schema: pa.Schema, source: Path) -> pa.Table:
    try:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"{source}: a live value does not fit its column's type: {error!s:.200}") from error


def _csv_text(lines: Sequence[Sequence[Any]], separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
