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


def copy_table(
    source: Path,
    target: Path,
    added: Sequence[Row],
    separator: str,
    changed: Mapping[str, Row] | None = None,
    key: str = "",
) -> None:
    """Copy a table with rows added at its end, and some values changed; Parquet keeps its types.

    Args:
        changed: id, in the column `key`, as text -> the changed columns; ids that the table lacks are
            ignored. Without changes, a CSV keeps its lines as they are.

    Raises:
        InputError: a value does not fit the type of its column in Parquet.
    """
    if is_parquet(source):
        table = _whole_table(source)
        if changed:
            rows = [row | dict(changed.get(str(row[key]), {})) for row in table.to_pylist()]
            table = _typed_table(rows, table.schema, source)
        pq.write_table(pa.concat_tables([table, _typed_table(added, table.schema, source)]), target)
        return
    names = header(source, separator)
    new = [[row.get(name) for name in names] for row in added]
    if changed:
        lines = parse_csv(source, names, separator).to_numpy(dtype=object).tolist()
        while lines and not any(lines[-1]):  # after blank lines, rows would not be read
            lines.pop()
        for line in lines:
            for name, value in changed.get(line[names.index(key)], {}).items():
                line[names.index(name)] = value
        with open_text_file(target, "wb") as copy:
            copy.write(_csv_text([names, *lines, *new], separator))
    elif new:
        blank, held = separator.encode() + b"\r\n", b""
        with open_text_file(source) as file, open_text_file(target, "wb") as copy:
            for text in file:
                kept = text.rstrip(b"\r\n") if text.strip(blank) else b""
                if kept:
                    copy.write(held + kept)
                    held = b""
                held += text[len(kept) :]
            copy.write(b"\n" + _csv_text(new, separator))
    else:
        shutil.copyfile(source, target)


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
