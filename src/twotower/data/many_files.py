"""Tables in several files, read as one in the order of the files."""

import itertools
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.data.table_paths import TablePath, opened, table_paths
from twotower.data.table_reader import header, header_problems, is_parquet, read

NUMBERS = ("whole numbers", "numbers")


def read_all(
    places: Sequence[TablePath], columns: Sequence[str], separator: str, chunk_rows: int, ids: Collection[str]
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Read files as `table_reader.read` does; return the table and the `pieces` of `SourceColumn`."""
    frames = [read(place, columns, separator, chunk_rows, ids) for place in places]
    if len(frames) == 1:
        return frames[0], []
    pieces, before = [], 0
    for place, frame in zip(places, frames, strict=True):
        if len(frame):
            pieces.append((before, str(place)))
        before += len(frame)
    named = [frame for frame in frames if frame.index.name is not None]
    return pd.concat(named or frames, ignore_index=not named), pieces


def pieces_of(places: Sequence[TablePath]) -> list[tuple[int, str]]:
    """Return the `pieces` of `SourceColumn` of several Parquet files, [] of a single one."""
    if len(places) == 1:
        return []
    numbers = []
    for place in places:
        with opened(place) as source, pq.ParquetFile(source) as file:
            numbers.append(file.metadata.num_rows)
    before = itertools.accumulate(numbers, initial=0)
    return [
        (start, str(place)) for start, number, place in zip(before, numbers, places, strict=False) if number
    ]


def problems_of(
    table: str,
    setting: str | Sequence[str],
    separator: str,
    needed: Mapping[str, Sequence[str] | None],
) -> list[tuple[str, str]]:
    """Return mistakes in the files of a table as (setting, message); reads headers only.

    Args:
        table: "interactions", "users" or "items".
        setting: names the files.
        separator: of CSV fields.
        needed: setting -> required columns; None for all columns of the first file.
    """
    try:
        places = table_paths(setting)
        headers = [header(place, separator) for place in places]
    except InputError as error:
        return [(f"{table}_path", str(error))]
    wanted = {key: headers[0] if columns is None else columns for key, columns in needed.items()}
    found = [
        (key, problem)
        for place, names in zip(places, headers, strict=True)
        for key, columns in wanted.items()
        for problem in header_problems(place, names, filter(None, columns))
    ]
    all_wanted = [name for columns in wanted.values() for name in columns]
    told = [] if found else conflicts(places, all_wanted)
    return [*found, *((f"{table}_path", each) for each in told)]


def conflicts(places: Sequence[TablePath], columns: Sequence[str]) -> list[str]:
    """Return messages about columns whose type differs between files."""
    csv = [place for place in places if not is_parquet(place)]
    if csv and len(csv) < len(places):
        other = next(place for place in places if is_parquet(place))
        return [f"{csv[0]} is CSV and {other} is Parquet; make the files of a table alike"]
    if csv or len(places) < 2:
        return []
    found: dict[str, tuple[str, TablePath]] = {}
    told = []
    for place in places:
        for name, kind in kinds_of(place, columns).items():
            first, of = found.setdefault(name, (kind, place))
            if kind != first and not {kind, first} <= set(NUMBERS):
                told.append(
                    f"{place}: column {name!r} holds {kind}, but {first} in {of}; make both of one kind"
                )
    return told


def kinds_of(place: TablePath, columns: Sequence[str]) -> dict[str, str]:
    """Return column -> type in plain words of a Parquet file; columns of type null are left out."""
    with opened(place) as source, pq.ParquetFile(source) as file:
        schema = file.schema_arrow
    types = {name: schema.field(name).type for name in columns if name in schema.names}
    return {name: kind_of(kind) for name, kind in types.items() if not pa.types.is_null(kind)}


def kind_of(kind: pa.DataType) -> str:
    """Return an Arrow type in plain words."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    for words, is_kind in {
        "whole numbers": pa.types.is_integer,
        "numbers": pa.types.is_floating,
        "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "times": lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    }.items():
        if is_kind(kind):
            return words
    return str(kind)
