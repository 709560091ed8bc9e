"""Parquet as Arrow types it: what pandas noted about a file may be odd, and hides the index it saved."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def column_names(path: Path) -> list[str]:
    """Return the names of all columns, a saved index among them; "" where it has none."""
    with pq.ParquetFile(path) as file:
        names = [str(name) for name in [*file.schema_arrow.names, *_ranges(file)]]
    return ["" if re.fullmatch(r"__index_level_\d+__", name) else name for name in names]


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns, each of which the file has once; whole numbers with gaps are no floats."""
    with pq.ParquetFile(path) as file:
        ranges = _ranges(file)
        stored = [name for name in columns if name not in ranges]
        table = file.read(columns=stored).select(stored)
        num_rows = file.metadata.num_rows
    table.validate(full=True)
    found = {name: ranges[name] if name in ranges else _series(table[name]) for name in columns}
    return pd.DataFrame(found, index=pd.RangeIndex(num_rows), columns=list(columns))


def _ranges(file: pq.ParquetFile) -> dict[str, range]:
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


def _series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """Return a column of somebody's own type as it is stored, a categorical one as its values."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    gaps = pa.types.is_integer(column.type) and column.null_count > 0
    values: pd.Series[Any] = column.to_pandas(types_mapper=_with_gaps if gaps else None)
    return values


def _with_gaps(kind: pa.DataType) -> Any:
    return pd.api.types.pandas_dtype(str(kind).replace("uint", "UInt").replace("int", "Int"))
