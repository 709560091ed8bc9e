"""Requests, the event types of a bundle, and checks of values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from twotower.bundle.embed import Rows
from twotower.bundle.manifest import Manifest
from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.data.actions import Role
from twotower.data.source_column import MAX_LENGTH, is_text_id, is_whole
from twotower.data.times import EARLIEST, LATEST
from twotower.serving.live_items import ItemId, LiveItems, UserId, as_id


class UnknownUser(InputError):  # noqa: N818
    """The bundle has no user with this id, and no event or profile has it."""


class UnknownItem(InputError):  # noqa: N818
    """No item has this id, or the item must be offered and is not."""


@dataclass(frozen=True)
class Request:
    """A request for recommendations to one user.

    Args:
        user_id: a user of the bundle, or a user with an event or profile; None for a user that only the next
            three arguments describe.
        features: column of the user table -> raw value, which replaces the stored one (None = unknown). Other
            columns have their stored value; without `user_id` they are unknown.
        history: item ids of the session, oldest first, appended to the stored history; they are not stored.
            They can include removed items.
        history_times: unix seconds of each item of `history`; None = the time of the request.
        history_events: event type of each item of `history`; None = a positive interaction.
        request_time: unix seconds; None = the request time of the bundle or, with `user_id`, the latest event
            or item of `history` if that is later.
        k: number of items; the result has fewer only if fewer are left.
        allow: ids of the candidates; unknown ids are an error. None = the whole catalogue.
        deny: ids that are excluded; unknown ids are ignored.
        context: column of the request -> raw value; other columns are unknown.
        where: column of the item table -> a value, a list of values, or {"min": number, "max": number}.
        exclude_seen: whether items of the history are excluded; None = unless the data of the bundle keep
            repeats.
    """

    user_id: UserId | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[ItemId] = ()
    history_times: Sequence[int] | None = None
    request_time: int | None = None
    k: int = 10
    allow: Iterable[ItemId] | None = None
    deny: Iterable[ItemId] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    exclude_seen: bool | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    history_events: Sequence[str | None] | None = None


class Rules(TypedDict, total=False):
    """Arguments of a request without a user; see `Request`."""

    allow: Iterable[ItemId] | None
    deny: Iterable[ItemId]
    where: Mapping[str, Any]
    exclude_seen: bool | None
    request_time: int | None
    context: Mapping[str, Any]
    history_events: Sequence[str | None] | None


class Moment(Rules, total=False):
    """Arguments of a request with a user id; see `Request`."""

    features: Mapping[str, Any]
    history: Sequence[ItemId]
    history_times: Sequence[int] | None


def checked_k(k: int) -> int:
    """Return k. Raises InputError unless it is an integer of 1 or more."""
    if not is_whole(k) or k < 1:
        raise InputError(f"k: expected a whole number of items, 1 or more, got {k!r}")
    return int(k)


def checked_time(time: Any, name: str) -> int:
    """Return a time in unix seconds. Raises InputError if it is not one."""
    if not is_whole(time) or not EARLIEST <= time < LATEST:
        raise InputError(f"{name}: expected whole unix seconds between 1970-01-02 and 2100, got {time!r:.80}")
    return int(time)


def checked_times(times: Sequence[Any] | None, num_items: int, request_time: int) -> list[int]:
    """Return the times of a history, oldest first; None = the time of the request for all items."""
    if times is None:
        return [request_time] * num_items
    given = listed(times, "history_times", "times", num_items)
    found = [checked_time(time, "history_times") for time in given]
    if found != sorted(found):
        raise InputError("history_times: expected the oldest first; order history and history_times by time")
    return found


def listed(
    values: Iterable[Any], name: str, what: str = "item ids", num_items: int | None = None
) -> list[Any]:
    """Return values as a list, one for each of `num_items` of the history if given.

    Raises InputError for another number, or for a single text, which would be split into letters.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name}: expected a list of {what}, got {values!r:.80}; write [{values!r:.80}]")
    found = list(values)
    if num_items not in (None, len(found)):
        raise InputError(f"{name}: expected {num_items} {what}, one per item of history, got {len(found)}")
    return found


def known_rows(items: LiveItems, ids: Iterable[Any], name: str, live: bool) -> Rows:
    """Return the rows of ids, in order. Raises UnknownItem: unknown id, or (if `live`) not offered."""
    given = listed(ids, name)
    rows = items.rows(given)
    wrong = ~items.live(rows) if live else rows == 0
    if wrong.any():
        position = int(wrong.argmax())
        value = given[position]
        if rows[position]:
            problem = "was removed from the catalogue; leave it out, or offer it again with put_item()"
        elif as_id(value, items.is_text) is None:
            problem = (
                f"is {type(value).__name__}, but item ids of this catalogue are {kind_of(items.is_text)}"
            )
        else:
            problem = (
                f"is not in the catalogue of {items.num_live:,} items; leave it out, or put it in first with "
                "put_item()"
            )
        raise UnknownItem(f"{name}: item {value!r:.80} {problem}")
    return rows


def kind_of(is_text: bool) -> str:
    """Return the type of ids, for a message."""
    return f"text of 1 to {MAX_LENGTH} characters" if is_text else "whole numbers of 64 bits"


def checked_id(value: Any, is_text: bool, name: str, what: str) -> int | str:
    """Return an id, which can be new. Raises InputError: another type than the ids of the bundle."""
    key = as_id(value, is_text)
    if key is None or (is_text and not is_text_id(key)):
        raise InputError(f"{name}: {what} are {kind_of(is_text)}, got {value!r:.80}")
    return key


@dataclass(frozen=True)
class EventType:
    """The role of an event and its row in the event embedding, 0 if the towers have none."""

    role: Role = "positive"
    code: int = 0

    @property
    def is_of_history(self) -> bool:
        """Whether the event enters the history of the user."""
        return self.role in ("positive", "train", "history")


class EventTypes:
    """Event types by name: those in the data of the bundle, and those that its settings define."""

    def __init__(self, manifest: Manifest) -> None:
        codes = {name: code for code, name in enumerate(manifest.event_types, start=1)}
        roles: dict[str, Role] = dict.fromkeys(codes, "positive")
        self._types = {
            name: EventType(role, codes.get(name, 0)) for name, role in (roles | manifest.event_roles).items()
        }

    def type_of(self, name: str | None, part: str = "event") -> EventType:
        """Return the event type of a name; None is a positive interaction. Raises InputError."""
        if name is None:
            return EventType()
        found = self._types.get(name) if isinstance(name, str) else None
        if found is not None:
            return found
        if not self._types:
            raise InputError(f"{part}: this bundle has no event types, got {name!r:.80}; leave it out")
        raise InputError(
            f"{part}: {name!r:.80} is not an event type of this bundle; {nearest(str(name), self._types)}"
        )
