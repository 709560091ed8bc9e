"""Changes as rows of the store, and back."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from twotower.config.errors import InputError
from twotower.data.source_column import fits_64_bits
from twotower.serving.live.changes import (
    Change,
    EventAdded,
    ItemPut,
    ItemRemoved,
    Quarantined,
    UserForgotten,
    UserPut,
)

Values = tuple[Any, ...]
HALF_A_PAIR = re.compile(r"[\ud800-\udfff]")  # of surrogates, which has no UTF-8

INSERTS: dict[type[Change], tuple[str, str]] = {
    ItemPut: ("puts", "(number, item_id, features, checksum) VALUES (?, ?, ?, ?)"),
    ItemRemoved: ("removals", "(number, item_id, checksum) VALUES (?, ?, ?)"),
    EventAdded: (
        "events",
        "(number, user_id, item_id, time, checksum) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (item_id, user_id, time) DO NOTHING",
    ),
    UserPut: ("profiles", "(number, user_id, features, checksum) VALUES (?, ?, ?, ?)"),
    UserForgotten: ("profiles", "(number, user_id, checksum) VALUES (?, ?, ?)"),
}
INSERT_NAMED = (
    "named_events",
    "(number, user_id, item_id, time, event, checksum) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (item_id, user_id, time, event) DO NOTHING",
)
"""For events with an event type."""

REPLACED: dict[type[Change], tuple[tuple[str, str], ...]] = {
    ItemPut: (("puts", "item_id"), ("removals", "item_id")),
    ItemRemoved: (("removals", "item_id"),),
    UserPut: (("profiles", "user_id"),),
    UserForgotten: (("profiles", "user_id"),),
}

INSERT_QUARANTINED = "INSERT INTO quarantine (kind, item_id, user_id, time, reason) VALUES (?, ?, ?, ?, ?)"

GONE = "item_id IN (SELECT item_id FROM removals)"
NAMED = (
    "(EXISTS (SELECT 1 FROM events AS e WHERE e.item_id = {table}.item_id AND e.number > :after) OR "
    "EXISTS (SELECT 1 FROM named_events AS e WHERE e.item_id = {table}.item_id AND e.number > :after))"
)
SELECTS: dict[type[Change], str] = {
    ItemPut: "SELECT number, item_id, features, checksum FROM puts "
    f"WHERE CASE WHEN {GONE} THEN {NAMED.format(table='puts')} ELSE number > :after END ORDER BY number",
    EventAdded: "SELECT number, user_id, item_id, time, NULL, checksum FROM events WHERE number > :after "
    "UNION ALL SELECT number, user_id, item_id, time, event, checksum FROM named_events "
    "WHERE number > :after ORDER BY number",
    ItemRemoved: "SELECT number, item_id, checksum FROM removals "
    f"WHERE number > :after OR {NAMED.format(table='removals')} ORDER BY number",
    UserPut: "SELECT number, user_id, features, checksum FROM profiles "
    "WHERE features IS NOT NULL AND number > :after ORDER BY number",
    UserForgotten: "SELECT number, user_id, checksum FROM profiles "
    "WHERE features IS NULL AND number > :after ORDER BY number",
}
"""What happened after a number, in the order in which the kinds are read. A removed item that an event names
since then is put and removed once more, so that the event finds it."""

FOLLOWED = SELECTS | {
    ItemPut: "SELECT number, item_id, features, checksum FROM puts WHERE number > :after ORDER BY number",
    ItemRemoved: "SELECT number, item_id, checksum FROM removals WHERE number > :after ORDER BY number",
}
"""The same for whoever has made all changes up to that number, and so knows the items that are gone."""


def values_of(change: Change) -> Values:
    """Return what is kept of a change, as its columns stand in `INSERTS`. Raises InputError: it cannot be."""
    match change:
        case ItemPut():
            return _kept_id(change.item_id, "item"), _json(change.features, f"item {change.item_id!r:.80}")
        case UserPut():
            return _kept_id(change.user_id, "user"), _json(change.features, f"user {change.user_id!r:.80}")
        case ItemRemoved():
            return (_kept_id(change.item_id, "item"),)
        case UserForgotten():
            return (_kept_id(change.user_id, "user"),)
    time = _whole(change.time)
    if time is None:
        raise InputError(f"time: expected whole unix seconds, got {change.time!r:.80}")
    kept = _kept_id(change.user_id, "user"), _kept_id(change.item_id, "item"), time
    if change.event is None:
        return kept
    if not isinstance(change.event, str) or HALF_A_PAIR.search(change.event):
        raise InputError(f"event: expected a word, got {change.event!r:.80}")
    return *kept, change.event


def insert_of(change: Change) -> tuple[str, str]:
    """Return a change's table, and the statement that writes its number, `values_of` and their checksum."""
    named = isinstance(change, EventAdded) and change.event is not None
    table, statement = INSERT_NAMED if named else INSERTS[type(change)]
    return table, f"INSERT INTO {table} {statement}"


def replaced_by(change: Change) -> tuple[tuple[str, str], ...]:
    """Return the tables whose rows of the same id a change takes the place of, and their column of ids."""
    return REPLACED.get(type(change), ())


def noted(each: Quarantined) -> Values:
    """Return the values of `INSERT_QUARANTINED` for a change that a bundle cannot apply."""
    change = each.change
    found = [getattr(change, name, None) for name in ("item_id", "user_id", "time")]
    return type(change).__name__, *found, each.reason


def checksum_of(*values: Any) -> int:
    """Return the CRC-32 of a row."""
    return zlib.crc32(json.dumps(values).encode())


def change_of(kind: type[Change], row: Values) -> Change:
    """Return the change that a row keeps. Raises ValueError: the row is not what was written."""
    number, *values, checksum = row
    if kind is EventAdded and values[-1] is None:  # of the table `events`
        values.pop()
    if any(isinstance(value, bytes) for value in row) or checksum_of(number, *values) != checksum:
        raise ValueError(f"row {number} of {kind.__name__} does not match its checksum")
    if kind in (ItemPut, UserPut):
        values[1] = json.loads(values[1])
    return kind(*values)


def _kept_id(value: Any, what: str) -> int | str:
    whole = _whole(value)
    if whole is not None:
        return whole
    if isinstance(value, str) and not HALF_A_PAIR.search(value):
        return str(value)
    raise InputError(f"{what} {value!r:.80}: expected an id that is text or a whole number of 64 bits")


def _json(features: Mapping[str, Any], what: str) -> str:
    try:
        return json.dumps(dict(features), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"features of {what}: expected text, numbers, lists and null ({error})") from error


def _whole(value: Any) -> int | None:
    """Return a whole number of 64 bits, numpy's too; None where it is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = value.__index__()
    return int(number) if fits_64_bits(number) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")
