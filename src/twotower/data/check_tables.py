"""The check that the tables of a source pass: all mistakes at once."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.problems import Gathered
from twotower.data.actions import IGNORED, Actions, ActionSettings, read_actions
from twotower.data.missing_rows import with_rows
from twotower.data.row_order import row_positions
from twotower.data.source_column import SourceColumn, checked_ids, quoted, unified_ids
from twotower.data.tables import (
    ENTITIES,
    EVENT,
    ITEM_ID,
    LABEL,
    SPLIT,
    SPLIT_NAMES,
    TIMESTAMP,
    USER_ID,
    WEIGHT,
    Needs,
    Tables,
    missing_columns,
    no_needs,
)
from twotower.data.times import checked_times

DEFAULT_ACTIONS = ActionSettings()


def checked(
    tables: Tables,
    needs: Needs = no_needs,
    meaning: ActionSettings = DEFAULT_ACTIONS,
    may_lack: Collection[str] = (),
) -> Tables:
    """Check tables, bring ids to int64 or text and timestamps to unix seconds, and make tables not given.

    Ids of the interactions that a table lacks get rows at its end, with every column missing, if "users" or
    "items" is in `may_lack`, and are refused otherwise. A table that has none of the ids is refused in any
    case: that is a mistake in a join. One InputError has file, column and row of all mistakes.
    """
    told = Gathered("the data")
    _check_columns(tables, told)
    columns: dict[str, Any] = {}
    if SPLIT in tables.interactions.columns:
        with told.refusals():
            split = tables.column("interactions", SPLIT)
            expected = f"expected one of {', '.join(SPLIT_NAMES)}, found"
            wrong = ~split.values.isin(SPLIT_NAMES).to_numpy()
            split.refuse(wrong, lambda row: f"{expected} {split.found(row)}")
    if tables.has_times:
        with told.refusals():
            times = tables.column("interactions", TIMESTAMP)
            columns[TIMESTAMP] = checked_times(times, tables.timestamp_unit)
    else:
        columns[TIMESTAMP] = row_positions(
            tables.interactions.get(SPLIT), len(tables.interactions), tables.ordered
        )
    frames: dict[str, Any] = {}
    for table, key in ENTITIES.items():
        frames[table], columns[key] = _checked_entities(tables, table, key, told, table in may_lack)
        told.messages += needs(table, frames[table], tables.source_path(table))
    actions = _checked_actions(tables, needs, meaning, told)
    told.raise_if_any()
    return _without_ignored(
        replace(tables, interactions=tables.interactions.assign(**columns), actions=actions, **frames)
    )


def checked_without_interactions(
    tables: Tables,
    ids: Mapping[str, np.ndarray],
    needs: Needs = no_needs,
    meaning: ActionSettings = DEFAULT_ACTIONS,
    may_lack: Collection[str] = (),
) -> Tables:
    """Check tables as `checked` does, beside a log that is not in memory; its rows are checked on reading.

    Args:
        tables: without interactions.
        ids: "users" and "items" -> the distinct ids of the log.
        needs: see `checked`.
        meaning: likewise.
        may_lack: likewise.
    """
    told = Gathered("the data")
    log = pd.DataFrame({key: [0] for key in tables.file_columns})
    _check_columns(replace(tables, interactions=log), told)
    frames: dict[str, Any] = {}
    for table, key in ENTITIES.items():
        index = pd.Index(ids[table], name="id")  # which stands for rows in messages
        distinct = pd.DataFrame({key: pd.Series(ids[table], index=index)})
        of_table = replace(tables, interactions=distinct, counted="ids in all")
        frames[table], _ = _checked_entities(of_table, table, key, told, table in may_lack)
        told.messages += needs(table, frames[table], tables.source_path(table))
    actions = _checked_actions(tables, needs, meaning, told)
    told.raise_if_any()
    return replace(tables, actions=actions, **frames)


def _checked_actions(tables: Tables, needs: Needs, meaning: ActionSettings, told: Gathered) -> Actions:
    """Return what the interactions were; the columns of the request are looked at as those of users are."""
    there = tables.interactions.columns
    label, weight, event = (
        tables.column("interactions", name) if name in there else None for name in (LABEL, WEIGHT, EVENT)
    )
    if tables.context:
        context = tables.interactions[list(tables.context)]
        told.messages += needs("context", context, tables.source_path("interactions"))
    return read_actions(label, weight, event, meaning, told)


def _without_ignored(tables: Tables) -> Tables:
    """Return tables without the interactions that count for nothing; the catalogue stays as it is."""
    actions = tables.actions
    if actions.roles is None or not (ignored := actions.roles == IGNORED).any():
        return tables
    kept: dict[str, Any] = {
        name: None if values is None else values[~ignored]
        for name, values in (("roles", actions.roles), ("weights", actions.weights), ("codes", actions.codes))
    }
    return replace(
        tables,
        interactions=tables.interactions[~ignored],
        pieces=(),
        actions=replace(actions, **kept, num_ignored=int(ignored.sum())),
    )


def _check_columns(tables: Tables, told: Gathered) -> None:
    label = () if tables.item_label is None else (tables.item_label,)
    for table, needed in {
        "interactions": (USER_ID, ITEM_ID, *([TIMESTAMP] if tables.has_times else [])),
        "users": (USER_ID,),
        "items": (ITEM_ID, *label),
    }.items():
        columns = getattr(tables, table).columns
        problem = missing_columns(columns, needed) if table == "interactions" or len(columns) else None
        told.messages += [f"{tables.source_path(table)}: {problem}"] if problem else []
    if len(tables.interactions) == 0:
        told.messages.append(
            f"{tables.source_path('interactions')}: holds no interactions; at least one is needed"
        )
    told.raise_if_any()


def _checked_entities(
    tables: Tables, table: str, key: str, told: Gathered, may_lack: bool
) -> tuple[pd.DataFrame, "pd.Series[Any] | None"]:
    """Return the table of users or items, without its key where that is wrong, and the log's ids."""
    frame: pd.DataFrame = getattr(tables, table)
    is_given = len(frame.columns) > 0
    found: dict[str, pd.Series[Any]] = {}
    for name in ("interactions", table) if is_given else ("interactions",):
        with told.refusals():
            found[name] = checked_ids(tables.column(name, key), name in tables.from_csv)
    ids = unified_ids(found, tables.from_csv)
    log_ids = ids.get("interactions")
    if not is_given:
        return frame if log_ids is None else log_ids.drop_duplicates().to_frame(key), log_ids
    if table not in ids:
        return frame.drop(columns=key), log_ids
    entities, named = tables.column(table, key), tables.column("interactions", key)
    with told.refusals():
        _check_unique(entities, ids[table])
    if log_ids is not None:
        with told.refusals():
            _check_known(entities, ids[table], named, log_ids, None if may_lack else f"missing_{table}")
            return with_rows(frame.assign(**{key: ids[table]}), key, log_ids), log_ids
    return frame.assign(**{key: ids[table]}), log_ids


def _check_known(
    entities: SourceColumn,
    ids: "pd.Series[Any]",
    named: SourceColumn,
    log_ids: "pd.Series[Any]",
    strict: str | None,
) -> None:
    """Refuse ids of another kind, and those not in the table: if a setting is `strict`, or if all are."""
    kind, known = _kind(log_ids), _kind(ids)
    named.refuse(
        np.arange(len(log_ids)) < int(len(ids) > 0 and kind != known),  # the first row speaks for its column
        lambda row: (
            f"holds {kind} ({quoted(log_ids.iloc[row])}), but {entities.name!r} in {entities.source_path} "
            f"holds {known} ({quoted(ids.iloc[0])}); make both of one type"
        ),
    )
    unknown = ~log_ids.isin(ids).to_numpy()
    remedy = f"add them there, drop their interactions, or set data.{strict}=unknown"
    if unknown.all():
        remedy = "it has none of the ids here; spell them alike in both, or leave that table out"
    elif strict is None:
        return
    named.refuse(
        unknown,
        lambda row: (
            f"{quoted(log_ids.iloc[row])} is not in {entities.source_path} ({log_ids[unknown].nunique()} "
            f"such ids in all); {remedy}"
        ),
    )


def _kind(ids: "pd.Series[Any]") -> str:
    return "whole numbers" if ids.dtype == np.int64 else "text"


def _check_unique(column: SourceColumn, ids: "pd.Series[Any]") -> None:
    def say(row: int) -> str:
        first = int((ids == ids.iloc[row]).to_numpy().argmax())
        return (
            f"duplicate id {quoted(ids.iloc[row])}, first seen at {column.place(first)}; keep one row an id"
        )

    column.refuse(ids.duplicated().to_numpy(), say)
