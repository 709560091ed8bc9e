"""What may change while a service runs; changes as rows of the store and back, and made once more."""

import contextlib
import itertools
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twotower.config.errors import InputError
from twotower.data.column import fits_64_bits
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
TOGETHER = 256
"""Items or profiles that are embedded in one pass when they are put in again."""


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
class UserPut:
    """A user has this profile from now on, whole; `features` are column -> raw value, as in JSON."""

    user_id: UserId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class UserForgotten:
    """A user has no profile but the bundle's."""

    user_id: UserId


@dataclass(frozen=True)
class Event:
    """A user did something with an item, at unix seconds `time`; `event` is the word for it, if any."""

    user_id: UserId
    item_id: ItemId
    time: int
    event: str | None = None


Change = ItemPut | ItemRemoved | Event | UserPut | UserForgotten


@dataclass(frozen=True)
class SetAside:
    """A change that stays in the store and cannot be made in the bundle in use, and what that said."""

    change: Change
    reason: str


def replay(changes: Iterable[Change], retriever: Retriever) -> list[SetAside]:
    """Make changes again that were kept; twice is harmless, and so is the removal of what is not offered.

    Items, or profiles, that follow one another are embedded together, unless one is wrong. Whatever a change
    raises, the others are made: who acknowledged them was another bundle, or another version of this program.
    """
    aside: list[SetAside] = []
    for kind, same in itertools.groupby(changes, type):
        while some := list(itertools.islice(same, TOGETHER)):
            if kind not in (ItemPut, UserPut) or not _put_together(some, retriever):
                aside += [each for change in some for each in _made(change, retriever)]
    return aside


def prepared(puts: Sequence[Any], retriever: Retriever) -> Callable[[], object]:
    """Check and embed items, or else profiles, with different ids; return what puts them in."""
    if isinstance(puts[0], ItemPut):
        items = retriever.prepare_items([(each.item_id, each.features) for each in puts])
        return partial(retriever.apply_items, items)
    users = retriever.profiles.prepare([(each.user_id, each.features) for each in puts])
    return partial(retriever.profiles.put, users)


def _put_together(puts: Sequence[Any], retriever: Retriever) -> bool:
    if len({each.item_id if isinstance(each, ItemPut) else each.user_id for each in puts}) < len(puts):
        return False
    try:
        prepared(puts, retriever)()
    except Exception:  # of one of them, and which one is not known
        return False
    return True


def _made(change: Change, retriever: Retriever) -> list[SetAside]:
    try:
        match change:
            case ItemPut() | UserPut():
                prepared([change], retriever)()
            case ItemRemoved():
                with contextlib.suppress(UnknownItem):
                    retriever.remove_item(change.item_id)
            case UserForgotten():
                with contextlib.suppress(UnknownUser):
                    retriever.forget_user(change.user_id)
            case Event():
                retriever.add_event(change.user_id, change.item_id, change.time, change.event)
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
    UserPut: "INSERT OR REPLACE INTO profiles (number, user_id, features, checksum) VALUES (?, ?, ?, ?)",
    UserForgotten: "INSERT OR REPLACE INTO profiles (number, user_id, checksum) VALUES (?, ?, ?)",
}

INSERT_NAMED = (
    "INSERT INTO named_events (number, user_id, item_id, time, event, checksum) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (item_id, user_id, time, event) DO NOTHING"
)
"""Of events with a word, which early versions had not."""

SET_ASIDE = "INSERT INTO set_aside (kind, item_id, user_id, time, reason) VALUES (?, ?, ?, ?, ?)"

GONE = "item_id IN (SELECT item_id FROM removals)"
NAMED = (
    "(EXISTS (SELECT 1 FROM events AS e WHERE e.item_id = {table}.item_id AND e.number > :after) OR "
    "EXISTS (SELECT 1 FROM named_events AS e WHERE e.item_id = {table}.item_id AND e.number > :after))"
)
SELECTS: dict[type[Change], str] = {
    ItemPut: "SELECT number, item_id, features, checksum FROM puts "
    f"WHERE CASE WHEN {GONE} THEN {NAMED.format(table='puts')} ELSE number > :after END ORDER BY number",
    Event: "SELECT number, user_id, item_id, time, NULL, checksum FROM events WHERE number > :after "
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


def insert_of(change: Change) -> str:
    """Return the statement that writes a change: its number, `values_of` and the checksum of these."""
    named = isinstance(change, Event) and change.event is not None
    return INSERT_NAMED if named else INSERTS[type(change)]


def noted(each: SetAside) -> Values:
    """Return what is noted of a change that a bundle cannot take, as its columns stand in `SET_ASIDE`."""
    change = each.change
    found = [getattr(change, name, None) for name in ("item_id", "user_id", "time")]
    return type(change).__name__, *found, each.reason


def checksum_of(*values: Any) -> int:
    """Return the CRC-32 of a row."""
    return zlib.crc32(json.dumps(values).encode())


def change_of(kind: type[Change], row: Values) -> Change:
    """Return the change that a row keeps. Raises ValueError: the row is not what was written."""
    number, *values, checksum = row
    if kind is Event and values[-1] is None:  # without a word, as early versions wrote all
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
