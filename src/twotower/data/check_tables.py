"""Checks of the tables of a source, which report all mistakes at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.problems import ErrorCollector
from twotower.data.actions import IGNORED, read_actions
from twotower.data.source_column import SourceColumn, checked_ids, quoted, unified_ids
from twotower.data.sources.source import Source
from twotower.data.tables import ENTITIES, SPLIT, SPLIT_NAMES, TIMESTAMP, Needs, Tables, missing_columns
from twotower.data.times import checked_times

ORDER_SEED = 0
NULLABLE = {"i": "Int64", "u": "UInt64", "b": "boolean"}
"""Kind of a NumPy type without missing values -> the nullable pandas type."""


def check_tables(
    tables: Tables,
    needs: Needs | None = None,
    config: Source.Config | None = None,
    ids: Mapping[str, np.ndarray] | None = None,
) -> Tables:
    """Return checked tables with ids as int64 or text, times as unix seconds, and both entity tables.

    Ids of interactions that are not in their table get rows at its end, with every column missing, or are
    refused, as `config` says (None: its defaults). A table that has none of the ids is always refused,
    because that is a mistake in a join. Of interactions that are read and checked in batches, `ids` are the
    distinct ids of "users" and "items", and the tables have no interactions.

    Raises:
        InputError: all mistakes, each with file, column and row.
    """
    errors, interactions = ErrorCollector("the data"), tables.interactions
    config = config or Source.Config.model_construct()
    _check_columns(tables, errors, is_streamed=ids is not None)
    columns: dict[str, Any] = {}
    if SPLIT in interactions:
        with errors.collect():
            split = tables.column("interactions", SPLIT)
            expected = f"expected one of {', '.join(SPLIT_NAMES)}, found"
            wrong = ~split.values.isin(SPLIT_NAMES).to_numpy()
            split.refuse(wrong, lambda row: f"{expected} {split.describe(row)}")
    if ids is None and tables.has_times:
        with errors.collect():
            times = tables.column("interactions", TIMESTAMP)
            columns[TIMESTAMP] = checked_times(times, tables.timestamp_unit)
    elif ids is None:
        columns[TIMESTAMP] = row_positions(interactions.get(SPLIT), len(interactions), tables.ordered)
    frames: dict[str, Any] = {}
    for table, key in ENTITIES.items():
        may_lack = getattr(config, f"missing_{table}") == "unknown"
        if ids is None:
            used = tables.column("interactions", key)
        else:
            index = pd.Index(ids[table], name="id")  # replaces row numbers in messages
            path, name = tables.source_path("interactions"), tables.file_columns.get(key, key)
            used = SourceColumn(pd.Series(ids[table], index), path, name, counted="ids in all")
        frames[table], columns[key] = _checked_entities(tables, table, used, errors, may_lack)
        errors.messages += needs(table, frames[table], tables.source_path(table)) if needs else ()
    if tables.context and needs:
        context = interactions[list(tables.context)]
        errors.messages += needs("context", context, tables.source_path("interactions"))
    actions = read_actions(tables.action_columns(), config.label_threshold, config.events, errors)
    errors.raise_if_any()
    if ids is None:
        frames["interactions"] = interactions.assign(**columns)
    return _without_ignored(replace(tables, actions=actions, **frames))


def _check_columns(tables: Tables, errors: ErrorCollector, is_streamed: bool) -> None:
    required = {table: [key] for table, key in ENTITIES.items() if len(getattr(tables, table).columns)}
    if not is_streamed:
        times = [TIMESTAMP] if tables.has_times else []
        required = {"interactions": [*ENTITIES.values(), *times], **required}
    if "items" in required and tables.item_label is not None:
        required["items"].append(tables.item_label)
    for table, names in required.items():
        if problem := missing_columns(getattr(tables, table).columns, names):
            errors.messages.append(f"{tables.source_path(table)}: {problem}")
    if len(tables.interactions) == 0 and not is_streamed:
        path = tables.source_path("interactions")
        errors.messages.append(f"{path}: holds no interactions; at least one is needed")
    errors.raise_if_any()


def _without_ignored(tables: Tables) -> Tables:
    """Drop interactions of role `ignored`; the catalogue stays as it is."""
    actions = tables.actions
    if actions.roles is None or not (ignored := actions.roles == IGNORED).any():
        return tables
    columns: dict[str, Any] = {
        name: None if (values := getattr(actions, name)) is None else values[~ignored]
        for name in ("roles", "weights", "codes")
    }
    actions = replace(actions, **columns, num_ignored=int(ignored.sum()))
    starts = {table: each for table, each in tables.file_starts.items() if table != "interactions"}
    return replace(tables, interactions=tables.interactions[~ignored], file_starts=starts, actions=actions)


def row_positions(parts: "pd.Series[Any] | None", num_rows: int, ordered: bool) -> np.ndarray:
    """Return the position of each row from 1, int64 [num_rows], which replaces missing times.

    Rows without an order get a fixed random order, train before valid before test (`parts`).
    """
    if ordered:
        return np.arange(1, num_rows + 1, dtype=np.int64)
    drawn = np.random.default_rng(ORDER_SEED).permutation(num_rows)
    codes = np.zeros(num_rows) if parts is None else parts.map({"train": 0, "valid": 1, "test": 2}).to_numpy()
    positions = np.empty(num_rows, dtype=np.int64)
    positions[np.lexsort((drawn, codes))] = np.arange(1, num_rows + 1)
    return positions


def _checked_entities(
    tables: Tables, table: str, used: SourceColumn, errors: ErrorCollector, may_lack: bool
) -> tuple[pd.DataFrame, "pd.Series[Any] | None"]:
    """Return the table of users or items, without its key if that is wrong, and the ids of interactions."""
    frame, key = getattr(tables, table), ENTITIES[table]
    columns = {"interactions": used}
    if len(frame.columns):
        columns[table] = tables.column(table, key)
    ids: Mapping[str, pd.Series[Any]] = {}
    for name, column in columns.items():
        with errors.collect():
            ids = {**ids, name: checked_ids(column, name in tables.from_csv)}
    ids = unified_ids(ids, tables.from_csv)
    used_ids = ids.get("interactions")
    if table not in columns:
        return frame if used_ids is None else used_ids.drop_duplicates().to_frame(key), used_ids
    if table not in ids:
        return frame.drop(columns=key), used_ids
    frame, entities = frame.assign(**{key: ids[table]}), replace(columns[table], values=ids[table])

    def describe_duplicate(row: int) -> str:
        first = entities.location(int((entities.values == entities.values.iloc[row]).to_numpy().argmax()))
        return f"duplicate id {quoted(entities.values.iloc[row])}, first seen at {first}; keep one row an id"

    with errors.collect():
        entities.refuse(entities.values.duplicated().to_numpy(), describe_duplicate)
    if used_ids is not None:
        with errors.collect():
            _check_references(entities, replace(used, values=used_ids), table, may_lack)
            return add_missing_rows(frame, key, used_ids), used_ids
    return frame, used_ids


def _check_references(entities: SourceColumn, used: SourceColumn, table: str, may_lack: bool) -> None:
    """Refuse ids of interactions whose type differs from the table's ids, or that are not in the table."""
    ids, used_ids = entities.values, used.values
    used_kind, kind = ("whole numbers" if each.dtype == np.int64 else "text" for each in (used_ids, ids))
    used.refuse(
        np.arange(len(used_ids)) < int(len(ids) > 0 and used_kind != kind),  # reports the first row only
        lambda row: (
            f"holds {used_kind} ({quoted(used_ids.iloc[row])}), but {entities.name!r} in "
            f"{entities.source_path} holds {kind} ({quoted(ids.iloc[0])}); make both of one type"
        ),
    )
    unknown = ~used_ids.isin(ids).to_numpy()
    if may_lack and not unknown.all():
        return
    remedy = f"add them there, drop their interactions, or set data.missing_{table}=unknown"
    if unknown.all():
        remedy = "it has none of the ids here; spell them alike in both, or leave that table out"
    used.refuse(
        unknown,
        lambda row: (
            f"{quoted(used_ids.iloc[row])} is not in {entities.source_path} ({used_ids[unknown].nunique()} "
            f"such ids in all); {remedy}"
        ),
    )


def add_missing_rows(frame: pd.DataFrame, key: str, ids: "pd.Series[Any]") -> pd.DataFrame:
    """Return a table with a row for each missing id at its end; its other columns are missing values.

    Columns keep their type: integers and booleans become nullable.
    """
    missing = ids[~ids.isin(frame[key])].drop_duplicates()
    if missing.empty:
        return frame
    kinds = {name: dtype.kind for name, dtype in frame.dtypes.items() if isinstance(dtype, np.dtype)}
    nullable = {name: NULLABLE[kind] for name, kind in kinds.items() if kind in NULLABLE}
    keys = pd.concat([frame[key], missing], ignore_index=True)
    longer = frame.astype(nullable).reset_index(drop=True).reindex(keys.index)
    return longer.assign(**{key: keys})
