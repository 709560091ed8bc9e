"""Live items and users as rows of the tables they belong to."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.data.grown_files import append_rows, change_rows
from twotower.data.sources.table_files import TableFiles
from twotower.data.table_reader import is_parquet, read

Files = TableFiles.Config
Put = tuple[int | str, Mapping[str, Any]]
"""The id of a live user or item, and its column -> raw value."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Grown:
    """How many live users or items a table took in, had with other values, and had as they are."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


def grow_table(table: str, puts: Sequence[Put], config: Files, target: Path) -> Grown:
    """Copy a run's table of "users" or "items", with what was put live in place of what it says.

    A put stands for the whole user or item: columns that it was made without become empty. Columns of the
    file that training does not read keep their values.

    Raises:
        InputError: a column that was put is none of those that are read, or a value does not fit it.
    """
    path = config.paths()[table]
    key = config.item_column if table == "items" else config.user_column
    columns = config.features(table)
    kinds = _kinds(path)
    given = {str(id_): (id_, _cells(features, columns, kinds, config, path)) for id_, features in puts}
    there = _rows_of(path, key, columns, set(given), config)
    changed = {
        text: given[text][1]
        for text, row in there.items()
        if any(not _same(row.get(name), given[text][1][name]) for name in columns)
    }
    new = [{key: id_, **cells} for text, (id_, cells) in given.items() if text not in there]
    with contextlib.ExitStack() as stack:
        source = path
        if changed:
            source = target.with_name(f"changed-{target.name}")
            stack.callback(source.unlink, missing_ok=True)
            change_rows(path, source, changed, key, config.separator)
        if new:
            append_rows(source, target, new, config.separator)
        else:
            shutil.copyfile(source, target)
    return Grown(len(new), len(changed), len(there) - len(changed))


def _kinds(path: Path) -> dict[str, pa.DataType]:
    if not is_parquet(path):
        return {}
    return {field.name: field.type for field in pq.read_schema(path)}


def _cells(
    features: Mapping[str, Any],
    columns: Sequence[str],
    kinds: Mapping[str, pa.DataType],
    config: Files,
    path: Path,
) -> Row:
    if unknown := sorted(set(features) - set(columns)):
        raise InputError(
            f"{path}: it lacks column {unknown[0]!r}, which was put live; {nearest(unknown[0], columns)}"
        )
    cells: Row = {}
    for name in columns:
        try:
            cells[name] = _cell(features.get(name), kinds.get(name), config.tag_separator)
        except pa.ArrowException as error:
            value = features[name]
            raise InputError(
                f"{path}: column {name!r} holds {kinds[name]}, and {value!r:.80} was put live ({error!s:.90})"
            ) from error
    return cells


def _cell(value: Any, kind: pa.DataType | None, tag_separator: str) -> Any:
    """Return a value as its column holds such: several as a list, or as one text with separators."""
    holds_lists = kind is not None and (pa.types.is_list(kind) or pa.types.is_large_list(kind))
    if isinstance(value, list) and not holds_lists:
        return tag_separator.join(map(str, value))
    if isinstance(value, str) and holds_lists:
        return [part.strip() for part in value.split(tag_separator) if part.strip()]
    return pa.scalar(value).cast(kind).as_py() if kind is not None and _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rows_of(path: Path, key: str, columns: Sequence[str], ids: set[str], config: Files) -> dict[str, Row]:
    """Return the rows of some ids, by their text, as the file has them."""
    frame = read(path, [key, *columns], config.separator, config.chunk_rows, [key])
    texts = frame[key].astype("str")
    some = texts.isin(ids).to_numpy(dtype=np.bool_)
    records: list[Any] = frame.loc[some, list(columns)].to_dict("records")
    return dict(zip(texts[some], records, strict=True))


def _same(there: Any, put: Any) -> bool:
    """Tell whether a table says what was put: text and numbers by their value, nothing by being none."""
    if _is_number(put) and isinstance(there, str):
        with contextlib.suppress(ValueError):
            return float(there) == float(put)
    if hasattr(there, "tolist"):
        there = there.tolist()
    if isinstance(there, list) or isinstance(put, list):
        return bool(there == put)
    none = _is_missing(there), _is_missing(put)
    return all(none) if any(none) else bool(there == put)


def _is_missing(value: Any) -> bool:
    return bool(pd.isna(value)) or value == ""
