"""The check that the tables of every source pass before anything is built from them: all mistakes at once."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from twotower.config.problems import Gathered
from twotower.data.column import Column, quoted
from twotower.data.ids import checked_ids
from twotower.data.tables import (
    ITEM_ID,
    SPLIT,
    SPLIT_NAMES,
    TIMESTAMP,
    USER_ID,
    Tables,
    missing_columns,
)

EARLIEST = 86_400
"""1970-01-02: earlier times are missing values or not seconds."""
LATEST = 4_102_444_800
"""2100-01-01: later times are not seconds."""
ENTITIES = {"users": USER_ID, "items": ITEM_ID}
"""Table -> its key."""

Needs = Callable[[str, pd.DataFrame, str], Iterable[str]]
"""("users" or "items", that table, its origin) -> what is wrong with the columns that somebody needs of it.

The table lacks its key where that is at fault itself.
"""


def no_needs(table: str, frame: pd.DataFrame, origin: str) -> Iterable[str]:
    """Find nothing wrong: nobody needs any column."""
    return ()


def checked(tables: Tables, needs: Needs = no_needs) -> Tables:
    """Check tables and bring ids to int64 or text and timestamps to int64.

    A source with a table of users or items must name every user or item of the interactions in it: an id
    that is missing there is more often a mistake in a join than a wish. A source without a table uses
    `Tables.of`.

    Args:
        tables: of a source.
        needs: is asked about the columns of users and of items.

    Raises:
        InputError: one message with file, column and row of everything that is wrong.
    """
    told = Gathered("the data")
    _check_columns(tables, told)
    with told.refusals():
        _check_split(tables.column("interactions", SPLIT))
    columns = {TIMESTAMP: _sound(tables, "interactions", TIMESTAMP, _checked_times, told)}
    frames: dict[str, Any] = {}
    for table, key in ENTITIES.items():
        frames[table], columns[key] = _checked_entities(tables, table, key, told)
        told.messages += needs(table, frames[table], tables.origins[table])
    told.tell()
    return replace(tables, interactions=tables.interactions.assign(**columns), **frames)


def _check_columns(tables: Tables, told: Gathered) -> None:
    """Refuse tables without the columns they must have, and a log without rows."""
    label = () if tables.item_label is None else (tables.item_label,)
    for table, needed in {
        "interactions": (USER_ID, ITEM_ID, TIMESTAMP),
        "users": (USER_ID,),
        "items": (ITEM_ID, *label),
    }.items():
        problem = missing_columns(getattr(tables, table).columns, needed)
        told.messages += [f"{tables.origins[table]}: {problem}"] if problem else []
    if len(tables.interactions) == 0:
        told.messages.append(
            f"{tables.origins['interactions']}: holds no interactions; at least one is needed"
        )
    told.tell()


def _sound(
    tables: Tables, table: str, key: str, check: Callable[[Column], "pd.Series[Any]"], told: Gathered
) -> "pd.Series[Any] | None":
    """Return what a check makes of a column, or None where the check, or the source before, refuses it."""
    if (table, key) in tables.faults:
        told.messages.append(tables.faults[table, key])
        return None
    with told.refusals():
        return check(tables.column(table, key))
    return None


def _checked_entities(
    tables: Tables, table: str, key: str, told: Gathered
) -> tuple[pd.DataFrame, "pd.Series[Any] | None"]:
    """Return the table of users or items, without its key where that is wrong, and the log's ids."""
    frame: pd.DataFrame = getattr(tables, table)
    log_ids = _sound(tables, "interactions", key, checked_ids, told)
    if log_ids is None and tables.origins[table] == tables.origins["interactions"]:
        return frame.drop(columns=key), None  # the table is made of what was refused
    ids = _sound(tables, table, key, checked_ids, told)
    if ids is None:
        return frame.drop(columns=key), log_ids
    entities, named = tables.column(table, key), tables.column("interactions", key)
    with told.refusals():
        _check_unique(entities, ids)
    if log_ids is not None:
        with told.refusals():
            _check_known(entities, ids, named, log_ids)
    return frame.assign(**{key: ids}), log_ids


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


def _checked_times(column: Column) -> "pd.Series[int]":
    times = column.values
    if not pd.api.types.is_integer_dtype(times.dtype) or times.isna().any():
        numbers = pd.to_numeric(times, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = numbers != np.floor(numbers)
        column.refuse(
            wrong if wrong.any() else np.arange(len(times)) < 1,
            lambda row: f"expected whole unix seconds (an integer column), found {column.found(row)}",
        )
    outside = ((times < EARLIEST) | (times >= LATEST)).to_numpy(dtype=np.bool_)
    column.refuse(outside, lambda row: _out_of_range(int(times.iloc[row])))
    return times.astype(np.int64)


def _out_of_range(value: int) -> str:
    hint = ""
    for name, factor in (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if EARLIEST <= value // factor < LATEST:
            setting = ", data.timestamp_unit=ms in table_files" if factor == 10**3 else ""
            hint = f", which looks like {name}: divide by {factor:,}{setting}"
            break
    return f"expected unix seconds between 1970-01-02 and 2100, found {value}{hint}"


def _check_split(column: Column) -> None:
    if SPLIT in column.frame.columns:
        column.refuse(
            ~column.values.isin(SPLIT_NAMES).to_numpy(),
            lambda row: f"expected one of {', '.join(SPLIT_NAMES)}, found {column.found(row)}",
        )
