"""The check that the tables of every source pass before anything is built from them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

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
from twotower.errors import InputError

EARLIEST = 86_400
"""1970-01-02: earlier times are missing values or not seconds."""
LATEST = 4_102_444_800
"""2100-01-01: later times are not seconds."""


def checked(tables: Tables) -> Tables:
    """Check tables and bring ids to int64 or text and timestamps to int64.

    A source with a table of users or items must name every user or item of the interactions in it: an id
    that is missing there is more often a mistake in a join than a wish. A source without a table uses
    `entities_of`.

    Raises:
        InputError: one message with file, column and row.
    """
    origin = tables.origins["interactions"]
    _require(tables.interactions, (USER_ID, ITEM_ID, TIMESTAMP), origin)
    if len(tables.interactions) == 0:
        raise InputError(f"{origin}: holds no interactions; at least one is needed")
    _check_split(_column(tables, "interactions", SPLIT))
    times = _checked_times(_column(tables, "interactions", TIMESTAMP))
    users, user_ids = _checked_entities(tables, "users", USER_ID)
    items, item_ids = _checked_entities(tables, "items", ITEM_ID)
    if tables.item_label is not None:
        _require(items, (tables.item_label,), tables.origins["items"])
    interactions = tables.interactions.assign(user_id=user_ids, item_id=item_ids, timestamp=times)
    return replace(tables, interactions=interactions, users=users, items=items)


def _column(tables: Tables, table: str, key: str) -> Column:
    return Column(getattr(tables, table), key, tables.origins[table], tables.file_columns.get(key, key))


def _require(frame: pd.DataFrame, needed: Iterable[str], origin: str) -> None:
    problem = missing_columns(frame.columns, needed)
    if problem:
        raise InputError(f"{origin}: {problem}")


def _checked_entities(tables: Tables, table: str, key: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the table of users or items, and the interactions' column of their ids."""
    frame: pd.DataFrame = getattr(tables, table)
    _require(frame, (key,), tables.origins[table])
    entities, named = _column(tables, table, key), _column(tables, "interactions", key)
    ids, log_ids = checked_ids(entities), checked_ids(named)
    if len(ids) and _kind(ids) != _kind(log_ids):
        raise named.refusal(
            0,
            f"holds {_kind(log_ids)} ({quoted(log_ids.iloc[0])}), but {entities.name!r} in {entities.origin} "
            f"holds {_kind(ids)} ({quoted(ids.iloc[0])}); make both of one type",
        )
    _check_unique(entities, ids)
    unknown = ~log_ids.isin(ids).to_numpy()
    if unknown.any():
        position = int(unknown.argmax())
        raise named.refusal(
            position,
            f"{quoted(log_ids.iloc[position])} is not in {entities.origin} ({log_ids[unknown].nunique()} "
            "such ids in all); add them there, or drop their interactions",
        )
    return frame.assign(**{key: ids}), log_ids


def _kind(ids: pd.Series) -> str:
    return "whole numbers" if ids.dtype == np.int64 else "text"


def _check_unique(column: Column, ids: pd.Series) -> None:
    again = ids.duplicated().to_numpy()
    if again.any():
        second = int(again.argmax())
        first = int((ids == ids.iloc[second]).to_numpy().argmax())
        raise column.refusal(
            second,
            f"duplicate id {quoted(ids.iloc[second])}, first seen at {column.place(first)} "
            f"({int(again.sum())} such rows in all); keep one row an id",
        )


def _checked_times(column: Column) -> "pd.Series[int]":
    times = column.values
    if not pd.api.types.is_integer_dtype(times.dtype) or times.isna().any():
        numbers = pd.to_numeric(times, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = numbers != np.floor(numbers)
        position = int(wrong.argmax()) if wrong.any() else 0
        raise column.refusal(
            position, f"expected whole unix seconds (an integer column), found {column.found(position)}"
        )
    outside = ((times < EARLIEST) | (times >= LATEST)).to_numpy(dtype=np.bool_)
    if outside.any():
        position = int(outside.argmax())
        value = int(times.iloc[position])
        raise column.refusal(
            position, f"expected unix seconds between 1970-01-02 and 2100, found {value}{_unit_hint(value)}"
        )
    return times.astype(np.int64)


def _unit_hint(value: int) -> str:
    for name, factor in (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if EARLIEST <= value // factor < LATEST:
            setting = ", data.timestamp_unit=ms in table_files" if factor == 10**3 else ""
            return f", which looks like {name}: divide by {factor:,}{setting}"
    return ""


def _check_split(column: Column) -> None:
    if SPLIT not in column.frame.columns:
        return
    wrong = ~column.values.isin(SPLIT_NAMES).to_numpy()
    if wrong.any():
        position = int(wrong.argmax())
        expected = ", ".join(SPLIT_NAMES)
        raise column.refusal(position, f"expected one of {expected}, found {column.found(position)}")
