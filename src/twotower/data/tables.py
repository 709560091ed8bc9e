"""The three tables every source returns, and the check they all pass."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from twotower.data.ids import checked_ids, place
from twotower.errors import InputError

USER_ID, ITEM_ID, TIMESTAMP, SPLIT = "user_id", "item_id", "timestamp", "split"
SPLIT_NAMES = ("train", "valid", "test")

EARLIEST = 86_400
"""1970-01-02: earlier times are missing values or not seconds."""
LATEST = 4_102_444_800
"""2100-01-01: later times are not seconds."""


@dataclass(frozen=True)
class Tables:
    """What a source holds, in its own ids.

    Rows keep the order of the source: among equal timestamps of a user the earlier row counts as earlier.
    A named index of a frame says where its rows come from ("line" 7) and is quoted in messages.

    Args:
        interactions: `user_id`, `item_id`, `timestamp` (unix seconds), perhaps `split`.
        users: `user_id`, unique, and feature columns; holds every user of the interactions.
        items: `item_id`, unique, and feature columns; ditto. The catalogue.
        origins: "interactions", "users", "items" -> file name, for messages.
        item_label: the column of `items` that names an item for people.
    """

    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    origins: dict[str, str]
    item_label: str | None = None


def entities_of(interactions: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the table of a source that has none: the distinct ids of the interactions, without features."""
    return pd.DataFrame({key: pd.unique(interactions[key])})


def checked(tables: Tables) -> Tables:
    """Check tables and bring ids to int64 or text and timestamps to int64.

    A source with a table of users or items must name every user or item of the interactions in it: an id
    that is missing there is more often a mistake in a join than a wish. A source without a table uses
    `entities_of`.

    Raises:
        InputError: one message with file, column and row.
    """
    origins = tables.origins
    interactions = tables.interactions
    _require(interactions, (USER_ID, ITEM_ID, TIMESTAMP), origins["interactions"])
    if len(interactions) == 0:
        raise InputError(f"{origins['interactions']}: holds no interactions; at least one is needed")
    interactions = interactions.assign(timestamp=_checked_times(interactions, origins["interactions"]))
    _check_split(interactions, origins["interactions"])
    entities = {}
    for name, key, frame in (("users", USER_ID, tables.users), ("items", ITEM_ID, tables.items)):
        _require(frame, (key,), origins[name])
        ids = checked_ids(frame, key, origins[name])
        named = checked_ids(interactions, key, origins["interactions"])
        _check_kinds(ids, named, key, origins["interactions"], origins[name])
        _check_unique(frame, ids, key, origins[name])
        _check_known(interactions, named, ids, key, origins["interactions"], origins[name])
        entities[name] = frame.assign(**{key: ids})
        interactions = interactions.assign(**{key: named})
    if tables.item_label is not None:
        _require(tables.items, (tables.item_label,), origins["items"])
    return replace(tables, interactions=interactions, users=entities["users"], items=entities["items"])


def missing_columns(columns: Iterable[str], needed: Iterable[str]) -> str | None:
    """Return what to say about needed columns that are not there, or None if they all are."""
    present = [str(column) for column in columns]
    for name in needed:
        if name not in present:
            close = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return f"column {name!r} is missing; {hint}there is {', '.join(present) or 'nothing'}"
    return None


def _require(frame: pd.DataFrame, needed: Iterable[str], origin: str) -> None:
    problem = missing_columns(frame.columns, needed)
    if problem:
        raise InputError(f"{origin}: {problem}")


def _checked_times(interactions: pd.DataFrame, origin: str) -> "pd.Series[int]":
    times = interactions[TIMESTAMP]
    if not pd.api.types.is_integer_dtype(times.dtype) or times.isna().any():
        numbers = pd.to_numeric(times, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = ~(numbers == np.floor(numbers))
        position = int(wrong.argmax()) if wrong.any() else 0
        found = "nothing (NaN)" if times.isna().iloc[position] else f"{times.iloc[position]!r:.80}"
        raise InputError(
            f"{origin}: column {TIMESTAMP!r}, {place(interactions, position)}: "
            f"expected whole unix seconds (an integer column), found {found}"
        )
    seconds = times.to_numpy(dtype=np.int64)
    outside = (seconds < EARLIEST) | (seconds >= LATEST)
    if outside.any():
        position = int(outside.argmax())
        raise InputError(
            f"{origin}: column {TIMESTAMP!r}, {place(interactions, position)}: expected unix seconds between "
            f"1970-01-02 and 2100, found {seconds[position]}{_unit_hint(int(seconds[position]))}"
        )
    return pd.Series(seconds, index=interactions.index)


def _unit_hint(value: int) -> str:
    for name, factor in (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if EARLIEST * 1000 <= value // factor < LATEST:
            return f", which looks like {name}; divide by {factor} (table_files: data.timestamp_unit)"
    return ""


def _check_split(interactions: pd.DataFrame, origin: str) -> None:
    if SPLIT not in interactions.columns:
        return
    wrong = ~interactions[SPLIT].isin(SPLIT_NAMES).to_numpy()
    if wrong.any():
        position = int(wrong.argmax())
        raise InputError(
            f"{origin}: column {SPLIT!r}, {place(interactions, position)}: expected one of "
            f"{', '.join(SPLIT_NAMES)}, found {interactions[SPLIT].iloc[position]!r}"
        )


def _check_kinds(ids: pd.Series, named: pd.Series, key: str, log_origin: str, entity_origin: str) -> None:
    kinds = ["whole numbers" if column.dtype == np.int64 else "text" for column in (named, ids)]
    if len(ids) and kinds[0] != kinds[1]:
        raise InputError(
            f"column {key!r} holds {kinds[0]} in {log_origin} (row 1: {named.iloc[0]!r}) but {kinds[1]} in "
            f"{entity_origin} (row 1: {ids.iloc[0]!r}); ids of one kind must have one type, whole numbers or "
            "text: convert one of the columns"
        )


def _check_unique(frame: pd.DataFrame, ids: pd.Series, key: str, origin: str) -> None:
    again = ids.duplicated().to_numpy()
    if again.any():
        second = int(again.argmax())
        first = int((ids == ids.iloc[second]).to_numpy().argmax())
        raise InputError(
            f"{origin}: column {key!r}, {place(frame, second)}: duplicate id {ids.iloc[second]!r}, "
            f"first seen at {place(frame, first)} ({int(again.sum())} such rows in all); keep one row an id"
        )


def _check_known(
    interactions: pd.DataFrame,
    named: pd.Series,
    ids: pd.Series,
    key: str,
    log_origin: str,
    entity_origin: str,
) -> None:
    unknown = ~named.isin(ids).to_numpy()
    if unknown.any():
        position = int(unknown.argmax())
        count = named[unknown].nunique()
        raise InputError(
            f"{log_origin}: column {key!r}, {place(interactions, position)}: {named.iloc[position]!r} "
            f"is not in {entity_origin} ({count} such ids in all); add them there, or drop their interactions"
        )
