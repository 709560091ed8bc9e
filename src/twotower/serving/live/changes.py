"""What may change while a service runs; changes as rows of the store and back, and made once more."""

import contextlib
import itertools
import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twotower.config.errors import InputError
from twotower.data.column import fits_64_bits
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import UnknownItem
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
TOGETHER = 256
"""Items that are embedded in one pass when they are put in again."""


@dataclass(frozen=True)
class ItemPut:
    """An item is offered from now on, new or changed; `features` are column -> raw value, as in JSON."""

    item_id: ItemId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class ItemRemoved:
    """An item is offered no more."""

    item_id: ItemId


@dataclass(frozen=True)
class Event:
    """A user did something with an item, at unix seconds `time`."""

    user_id: UserId
    item_id: ItemId
    time: int


Change = ItemPut | ItemRemoved | Event


@dataclass(frozen=True)
class SetAside:
    """A change that stays in the store and cannot be made in the bundle in use, and what that said."""

    change: Change
    reason: str


def replay(changes: Iterable[Change], retriever: Retriever) -> list[SetAside]:
    """Make changes again that were kept; twice is harmless, and so is the removal of what is not offered.

    Items that follow one another are embedded together, unless one is wrong. Whatever a change raises,
    the others are made: who acknowledged them was another bundle, or another version of this program.
    """
    aside: list[SetAside] = []
    for kind, same in itertools.groupby(changes, type):
        while some := list(itertools.islice(same, TOGETHER)):
            if kind is not ItemPut or not _put_together(some, retriever):
                aside += [each for change in some for each in _made(change, retriever)]
    return aside


def _put_together(puts: Sequence[Any], retriever: Retriever) -> bool:
    if len({each.item_id for each in puts}) < len(puts):
        return False
    try:
        retriever.apply_items(retriever.prepare_items([(each.item_id, each.features) for each in puts]))
    except Exception:  # of one of them, and which one is not known
        return False
    return True


def _made(change: Change, retriever: Retriever) -> list[SetAside]:
    try:
        if isinstance(change, ItemPut):
            retriever.apply_items(retriever.prepare_items([(change.item_id, change.features)]))
        elif isinstance(change, ItemRemoved):
            with contextlib.suppress(UnknownItem):
                retriever.remove_item(change.item_id)
        else:
            retriever.add_event(change.user_id, change.item_id, change.time)
    except Exception as error:
        plain = isinstance(error, InputError)
        LOG.debug("set aside: %s", change, exc_info=not plain)
        return [SetAside(change, str(error) if plain else f"{type(error).__name__}: {error}")]
    return []


Values = tuple[Any, ...]
HALF_A_PAIR = re.compile(r"[\ud800-\udfff]")  # of surrogates, which has no UTF-8

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
    """Return what is kept of a change, as its columns stand in `INSERTS`. Raises InputError: it cannot be."""
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
    time = _whole(change.time)
    if time is None:
        raise InputError(f"time: expected whole unix seconds, got {change.time!r:.80}")
    return _kept_id(change.user_id, "user"), item_id, time


def noted(each: SetAside) -> Values:
    """Return what is noted of a change that a bundle cannot take, as its columns stand in `SET_ASIDE`."""
    change = each.change
    of_event = (change.user_id, change.time) if isinstance(change, Event) else (None, None)
    return type(change).__name__, change.item_id, *of_event, each.reason


def checksum_of(*values: Any) -> int:
    """Return the CRC-32 of a row."""
    return zlib.crc32(json.dumps(values).encode())


def change_of(kind: type[Change], row: Values) -> Change:
    """Return the change that a row keeps. Raises ValueError: the row is not what was written."""
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
    if isinstance(value, str) and not HALF_A_PAIR.search(value):
        return str(value)
    raise InputError(f"{what} {value!r:.80}: expected an id that is text or a whole number of 64 bits")


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
