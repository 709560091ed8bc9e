"""What may change while a service runs, and how it is made once more."""

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
class EventAdded:
    """A user did something with an item, at unix seconds `time`; `event` is the word for it, if any."""

    user_id: UserId
    item_id: ItemId
    time: int
    event: str | None = None


Change = ItemPut | ItemRemoved | EventAdded | UserPut | UserForgotten


@dataclass(frozen=True)
class Quarantined:
    """A change that stays in the store and cannot be made in the bundle in use, and what that said."""

    change: Change
    reason: str


def replay(changes: Iterable[Change], retriever: Retriever) -> list[Quarantined]:
    """Make changes again that were kept; twice is harmless, and so is the removal of what is not offered.

    Items, or profiles, that follow one another are embedded together, unless one is wrong. Whatever a change
    raises, the others are made: who acknowledged them was another bundle, or another version of this program.
    """
    aside: list[Quarantined] = []
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


def _made(change: Change, retriever: Retriever) -> list[Quarantined]:
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
            case EventAdded():
                retriever.add_event(change.user_id, change.item_id, change.time, change.event)
    except Exception as error:
        plain = isinstance(error, InputError)
        LOG.debug("quarantined: %s", change, exc_info=not plain)
        return [Quarantined(change, str(error) if plain else f"{type(error).__name__}: {error}")]
    return []
