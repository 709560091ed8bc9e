"""What may change while a service runs: an item is put or removed, a user does something."""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.recommendation import ItemId, UserId
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
