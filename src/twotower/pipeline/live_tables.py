"""Live items and users as rows of the items and users tables."""

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
from twotower.data.sources.table_files import TableFiles
from twotower.data.table_copies import append_rows, change_rows
from twotower.data.table_reader import is_parquet, read_file

Files = TableFiles.Config
Put = tuple[int | str, Mapping[str, Any]]
"""The id of a live user or item, and its column -> raw value."""
Row = dict[str, Any]


@dataclass(frozen=True)
class TableChanges:
    """Numbers of live users or items that are new in a table, changed, or equal to its rows."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0


def update_table(table: str, puts: Sequence[Put], config: Files, target: Path) -> TableChanges:
    """Copy a run's table of "users" or "items", and replace or append the rows of live puts.

    A put replaces the whole user or item: columns that it lacks become empty. Columns that training does not
    read keep their values.

    Raises:
        InputError: a put has a column that training does not read, or a value does not fit its column.
    """
    path = config.paths()[table]
    key = config.item_column if table == "items" else config.user_column
    columns = config.features(table)
    kinds: dict[str, pa.DataType] = {}
    if is_parquet(path):
        kinds = {field.name: field.type for field in pq.read_schema(path)}
    given = {str(id_): (id_, _cells(features, columns, kinds, config, path)) for id_, features in puts}
    frame = read_file(path, [key, *columns], config.separator, [key])
    ids = frame[key].astype("str")
    is_given = ids.isin(set(given)).to_numpy(dtype=np.bool_)
    records: list[Any] = frame.loc[is_given, list(columns)].to_dict("records")
    rows = dict(zip(ids[is_given], records, strict=True))
    changed = {
        id_: given[id_][1]
        for id_, row in rows.items()
        if any(not _is_same(row.get(name), given[id_][1][name]) for name in columns)
    }
    new = [{key: id_, **cells} for text, (id_, cells) in given.items() if text not in rows]
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
    return TableChanges(len(new), len(changed), len(rows) - len(changed))


def _cells(
    features: Mapping[str, Any],
    columns: Sequence[str],
    kinds: Mapping[str, pa.DataType],
    config: Files,
    path: Path,
) -> Row:
    if unknown := sorted(set(features) - set(columns)):
        raise InputError(
            f"{path}: no column {unknown[0]!r}, but a live item or user has it; "
            f"{nearest(unknown[0], columns)}"
        )
    cells: Row = {}
    for name in columns:
        try:
            cells[name] = _cell(features.get(name), kinds.get(name), config.tag_separator)
        except pa.ArrowException as error:
            value = features[name]
            raise InputError(
                f"{path}: column {name!r} has type {kinds[name]}, but the live value is {value!r:.80} "
                f"({error!s:.90})"
            ) from error
    return cells


def _cell(value: Any, kind: pa.DataType | None, tag_separator: str) -> Any:
    """Return a value in the type of its column. If the column has no lists, a list is joined to a text."""
    holds_lists = kind is not None and (pa.types.is_list(kind) or pa.types.is_large_list(kind))
    if isinstance(value, list) and not holds_lists:
        return tag_separator.join(map(str, value))
    if isinstance(value, str) and holds_lists:
        return [part.strip() for part in value.split(tag_separator) if part.strip()]
    return pa.scalar(value).cast(kind).as_py() if kind is not None and _is_number(value) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(current: Any, put: Any) -> bool:
    """Return whether a cell equals the value of a put. Numbers equal their text; missing values are equal."""
    if _is_number(put) and isinstance(current, str):
        with contextlib.suppress(ValueError):
            return float(current) == float(put)
    if hasattr(current, "tolist"):
        current = current.tolist()
    if isinstance(current, list) or isinstance(put, list):
        return bool(current == put)
    are_missing = _is_missing(current), _is_missing(put)
    return all(are_missing) if any(are_missing) else bool(current == put)


def _is_missing(value: Any) -> bool:
    return bool(pd.isna(value)) or value == ""
