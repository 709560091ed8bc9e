"""The kinds of live changes; how they are checked and applied to a retriever."""

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

LOG = logging.getLogger("twotower")
REPLAY_BATCH = 256
"""Largest number of items or profiles that `replay` embeds in one pass."""


@dataclass(frozen=True)
class ItemPut:
    """Offer a new or changed item; `features` maps a column to its raw value, as in JSON."""

    item_id: ItemId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class ItemRemoved:
    """Stop offering an item."""

    item_id: ItemId


@dataclass(frozen=True)
class UserPut:
    """Replace the profile of a user; `features` maps a column to its raw value, as in JSON."""

    user_id: UserId
    features: Mapping[str, Any]


@dataclass(frozen=True)
class UserForgotten:
    """Delete the stored profile of a user, so that the one of the bundle applies."""

    user_id: UserId


@dataclass(frozen=True)
class EventAdded:
    """Add an interaction of a user with an item at unix seconds `time`; `event` is its type, if any."""

    user_id: UserId
    item_id: ItemId
    time: int
    event: str | None = None


Change = ItemPut | ItemRemoved | EventAdded | UserPut | UserForgotten


@dataclass(frozen=True)
class Quarantined:
    """A stored change that the current bundle cannot apply, and the reason."""

    change: Change
    reason: str


def subject(change: Change) -> tuple[Any, ...]:
    """Return a key of what a change is about: a later change of the same item or profile replaces it."""
    match change:
        case ItemPut() | ItemRemoved():
            return "item", change.item_id
        case UserPut() | UserForgotten():
            return "user", change.user_id
    return "event", change.user_id, change.item_id, change.time, change.event


def check(change: Change, retriever: Retriever) -> Callable[[], object] | None:
    """Check and embed a change; return the function that applies it, None for an event of an ignored type.

    Raises InputError.
    """
    match change:
        case ItemPut() | UserPut():
            return _check_puts([change], retriever)
        case ItemRemoved():
            retriever.check_offered(change.item_id)
            return partial(retriever.remove_item, change.item_id)
        case UserForgotten():
            retriever.profiles.check_profile(change.user_id)
            return partial(retriever.forget_user, change.user_id)
    event = change.user_id, change.item_id, change.time, change.event
    return partial(retriever.add_event, *event) if retriever.check_event(*event) else None


def _check_puts(puts: Sequence[Any], retriever: Retriever) -> Callable[[], object]:
    """Check and embed items, or profiles, with different ids; return the function that applies them."""
    if isinstance(puts[0], ItemPut):
        items = retriever.catalogue.prepare([(each.item_id, each.features) for each in puts])
        return partial(retriever.apply_items, items)
    users = retriever.profiles.prepare([(each.user_id, each.features) for each in puts])
    return partial(retriever.profiles.put, users)


def replay(changes: Iterable[Change], retriever: Retriever) -> list[Quarantined]:
    """Apply stored changes; return those that fail.

    Applying a change twice has no further effect. Consecutive items, or profiles, are embedded together.
    An error of any kind quarantines its change only, because another bundle or version accepted it.
    """
    quarantined: list[Quarantined] = []
    for kind, same in itertools.groupby(changes, type):
        while batch := list(itertools.islice(same, REPLAY_BATCH)):
            if kind in (ItemPut, UserPut):
                with contextlib.suppress(Exception):  # which of them is wrong is unknown: each is tried
                    _check_puts(batch, retriever)()
                    continue
            quarantined += [failed for change in batch if (failed := _apply(change, retriever))]
    return quarantined


def without_removed(changes: Sequence[Change], retriever: Retriever) -> list[Change]:
    """Leave out items that are removed again and that the retriever knows, so that no request gets them."""
    rows = retriever.catalogue.items
    removed = {each.item_id for each in changes if isinstance(each, ItemRemoved)}
    known = {item_id for item_id in removed if rows.rows([item_id])[0]}
    return [each for each in changes if not (isinstance(each, ItemPut) and each.item_id in known)]


def _apply(change: Change, retriever: Retriever) -> Quarantined | None:
    is_deletion = isinstance(change, ItemRemoved | UserForgotten)
    try:
        with contextlib.suppress(*([UnknownItem, UnknownUser] if is_deletion else [])):
            if (apply := check(change, retriever)) is not None:
                apply()
    except InputError as error:
        return Quarantined(change, str(error))
    except Exception as error:
        LOG.debug("quarantined: %s", change, exc_info=True)
        return Quarantined(change, f"{type(error).__name__}: {error}")
    return None
