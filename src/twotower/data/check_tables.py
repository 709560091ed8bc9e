"""The check that the tables of every source pass before anything is built from them: all mistakes at once."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.problems import Gathered
from twotower.data.column import Column, quoted
from twotower.data.ids import checked_ids, unified_ids
from twotower.data.tables import ITEM_ID, SPLIT, SPLIT_NAMES, TIMESTAMP, USER_ID, Tables, missing_columns
from twotower.data.times import checked_times

ENTITIES = {"users": USER_ID, "items": ITEM_ID}  # table -> its key

Needs = Callable[[str, pd.DataFrame, str], Iterable[str]]
"""("users" or "items", that table, its origin) -> what is wrong with the columns that somebody needs of it.

The table lacks its key where that is at fault itself.
"""


def no_needs(table: str, frame: pd.DataFrame, origin: str) -> Iterable[str]:
    """Find nothing wrong: nobody needs any column."""
    return ()


def checked(tables: Tables, needs: Needs = no_needs) -> Tables:
    """Check tables, bring ids to int64 or text and timestamps to unix seconds, and make tables not given.

    A table of users or items must name every user or item of the interactions: an id that is missing there
    is more often a mistake in a join than a wish.

    Raises:
        InputError: one message with file, column and row of everything that is wrong.
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
    with told.refusals():
        times = tables.column("interactions", TIMESTAMP)
        columns[TIMESTAMP] = checked_times(times, tables.timestamp_unit)
    frames: dict[str, Any] = {}
    for table, key in ENTITIES.items():
        frames[table], columns[key] = _checked_entities(tables, table, key, told)
        told.messages += needs(table, frames[table], tables.origin(table))
    told.tell()
    return replace(tables, interactions=tables.interactions.assign(**columns), **frames)


def _check_columns(tables: Tables, told: Gathered) -> None:
    label = () if tables.item_label is None else (tables.item_label,)
    for table, needed in {
        "interactions": (USER_ID, ITEM_ID, TIMESTAMP),
        "users": (USER_ID,),
        "items": (ITEM_ID, *label),
    }.items():
        columns = getattr(tables, table).columns
        problem = missing_columns(columns, needed) if table == "interactions" or len(columns) else None
        told.messages += [f"{tables.origin(table)}: {problem}"] if problem else []
    if len(tables.interactions) == 0:
        told.messages.append(
            f"{tables.origin('interactions')}: holds no interactions; at least one is needed"
        )
    told.tell()


def _checked_entities(
    tables: Tables, table: str, key: str, told: Gathered
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
            _check_known(entities, ids[table], named, log_ids)
    return frame.assign(**{key: ids[table]}), log_ids


def _check_known(entities: Column, ids: "pd.Series[Any]", named: Column, log_ids: "pd.Series[Any]") -> None:
    kind, known = _kind(log_ids), _kind(ids)
    named.refuse(
        np.arange(len(log_ids)) < int(len(ids) > 0 and kind != known),  # the first row speaks for its column
        lambda row: (
            f"holds {kind} ({quoted(log_ids.iloc[row])}), but {entities.name!r} in {entities.origin} "
            f"holds {known} ({quoted(ids.iloc[0])}); make both of one type"
        ),
    )
    unknown = ~log_ids.isin(ids).to_numpy()
    named.refuse(
        unknown,
        lambda row: (
            f"{quoted(log_ids.iloc[row])} is not in {entities.origin} ({log_ids[unknown].nunique()} "
            "such ids in all); add them there, or drop their interactions"
        ),
    )


def _kind(ids: "pd.Series[Any]") -> str:
    return "whole numbers" if ids.dtype == np.int64 else "text"


def _check_unique(column: Column, ids: "pd.Series[Any]") -> None:
    def say(row: int) -> str:
        first = int((ids == ids.iloc[row]).to_numpy().argmax())
        return (
            f"duplicate id {quoted(ids.iloc[row])}, first seen at {column.place(first)}; keep one row an id"
        )

    column.refuse(ids.duplicated().to_numpy(), say)
