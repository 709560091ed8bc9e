"""Changes as rows of the store and back: which tables, what is kept, and whether it is what was written."""

import json
import zlib
from typing import Any

from twotower.config.errors import InputError
from twotower.data.column import fits_64_bits
from twotower.serving.live.changes import Change, Event, ItemPut, ItemRemoved, SetAside

Values = tuple[Any, ...]

INSERTS: dict[type[Change], str] = {
    ItemPut: "INSERT OR REPLACE INTO puts (number, item_id, features, checksum) VALUES (?, ?, ?, ?)",
    ItemRemoved: "INSERT OR REPLACE INTO removals (number, item_id, checksum) VALUES (?, ?, ?)",
    Event: "INSERT INTO events (number, user_id, item_id, time, checksum) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (item_id, user_id, time) DO NOTHING",
}

SET_ASIDE = "INSERT INTO set_aside (kind, item_id, user_id, time, reason) VALUES (?, ?, ?, ?, ?)"

GONE = "item_id IN (SELECT item_id FROM removals)"
NAMED = "EXISTS (SELECT 1 FROM events WHERE events.item_id = {table}.item_id AND events.number > :after)"
SELECTS: dict[type[Change], str] = {
    ItemPut: "SELECT number, item_id, features, checksum FROM puts "
    f"WHERE CASE WHEN {GONE} THEN {NAMED.format(table='puts')} ELSE number > :after END ORDER BY number",
    Event: "SELECT number, user_id, item_id, time, checksum FROM events "
    "WHERE number > :after ORDER BY number",
    ItemRemoved: "SELECT number, item_id, checksum FROM removals "
    f"WHERE number > :after OR {NAMED.format(table='removals')} ORDER BY number",
}
"""What happened after a number, in the order in which the kinds are read. A removed item that an event names
since then is put and removed once more, so that the event finds it."""


def values_of(change: Change) -> Values:
    """Return what is kept of a change, as its columns stand in `INSERTS`.

    Raises:
        InputError: an id is neither text nor a whole number of 64 bits, or a feature has no JSON.
    """
    item_id = _kept_id(change.item_id, "item")
    if isinstance(change, ItemPut):
        try:
            return item_id, json.dumps(dict(change.features), default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"features of item {item_id!r:.80}: expected text, numbers, lists and null ({error})"
            ) from error
    if isinstance(change, ItemRemoved):
        return (item_id,)
    return _kept_id(change.user_id, "user"), item_id, _kept_time(change.time)


def noted(each: SetAside) -> Values:
    """Return what is noted of a change that a bundle cannot take, as its columns stand in `SET_ASIDE`."""
    change = each.change
    of_event = (change.user_id, change.time) if isinstance(change, Event) else (None, None)
    return type(change).__name__, change.item_id, *of_event, each.reason


def checksum_of(*values: Any) -> int:
    """Return the CRC-32 of a row."""
    return zlib.crc32(json.dumps(values).encode())


def change_of(kind: type[Change], row: Values) -> Change:
    """Return the change that a row keeps.

    Raises:
        ValueError: the row is not what was written.
    """
    number, *values, checksum = row
    if any(isinstance(value, bytes) for value in row) or checksum_of(number, *values) != checksum:
        raise ValueError(f"row {number} of {kind.__name__} does not match its checksum")
    if kind is ItemPut:
        return ItemPut(values[0], json.loads(values[1]))
    return kind(*values)


def _kept_id(value: Any, what: str) -> int | str:
    whole = _whole(value)
    if whole is not None:
        return whole
    if isinstance(value, str) and _encodable(value):
        return str(value)
    raise InputError(f"{what} {value!r:.80}: expected an id that is text or a whole number of 64 bits")


def _kept_time(value: Any) -> int:
    whole = _whole(value)
    if whole is None:
        raise InputError(f"time: expected whole unix seconds, got {value!r:.80}")
    return whole


def _whole(value: Any) -> int | None:
    """Return a whole number of 64 bits, numpy's too; None where it is none."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = value.__index__()
    return int(number) if fits_64_bits(number) else None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a number or list of numpy's as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")
