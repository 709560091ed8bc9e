"""What may change while a service runs: an item is put or removed, a user does something."""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twotower.errors import InputError
from twotower.serving.recommendation import ItemId, UserId
from twotower.serving.requests import UnknownItem

LOG = logging.getLogger("twotower")
TOGETHER = 256
"""Items that are embedded in one pass when they are put in again."""


@dataclass(frozen=True)
class ItemPut:
    """An item is offered from now on, new or changed.

    Args:
        item_id: the user's own key.
        features: column of the item table -> raw value, as JSON has them.
    """

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
    """A change that was kept and cannot be made in the bundle in use.

    Args:
        change: stays in the store, for other bundles.
        reason: what the bundle said.
    """

    change: Change
    reason: str


class Changeable(Protocol):
    """What a change is made to: a retriever. What raises InputError has changed nothing."""

    def prepare_item(self, item_id: ItemId, features: Mapping[str, Any]) -> Any:
        """Check and embed an item, and change nothing."""

    def prepare_items(self, puts: Sequence[tuple[ItemId, Mapping[str, Any]]]) -> Sequence[Any]:
        """Prepare several items, each with its id; of one that cannot be, return the InputError."""

    def apply_item(self, prepared: Any) -> bool:
        """Offer an item that was prepared; it is searchable when this returns."""

    def check_offered(self, item_id: ItemId) -> None:
        """Raise UnknownItem unless the item is offered."""

    def remove_item(self, item_id: ItemId) -> None:
        """Stop offering an item."""

    def check_event(self, user_id: UserId, item_id: ItemId | None, time: int) -> None:
        """Raise unless `add_event` would take it; without an item only the rest is looked at."""

    def add_event(self, user_id: UserId, item_id: ItemId, time: int) -> None:
        """Let an event enter the user's history; one that is there already does not come twice."""


def replay(changes: Iterable[Change], retriever: Changeable) -> list[SetAside]:
    """Make changes again that were kept; twice is harmless, and so is the removal of what is not offered.

    Items that follow one another are embedded together. Whatever a change raises, the others are made: who
    acknowledged them was another bundle, or another version of this program.

    Returns:
        Those that the retriever could not take.
    """
    aside: list[SetAside] = []
    for kind, same in itertools.groupby(changes, type):
        while some := list(itertools.islice(same, TOGETHER)):
            prepared = _prepared(some, retriever) if kind is ItemPut else some
            for change, each in zip(some, prepared, strict=True):
                try:
                    _make(each, retriever)
                except Exception as error:
                    plain = isinstance(error, InputError)
                    aside.append(
                        SetAside(change, str(error) if plain else f"{type(error).__name__}: {error}")
                    )
                    LOG.debug("set aside: %s", change, exc_info=not plain)
    return aside


def _prepared(puts: Sequence[Any], retriever: Changeable) -> Sequence[Any]:
    """Prepare items together; one by one where that fails, so that the cause alone is set aside."""
    pairs = [(each.item_id, each.features) for each in puts]
    try:
        return retriever.prepare_items(pairs)
    except Exception:
        return [_alone(pair, retriever) for pair in pairs]


def _alone(pair: tuple[ItemId, Mapping[str, Any]], retriever: Changeable) -> Any:
    try:
        return retriever.prepare_items([pair])[0]
    except Exception as error:
        return error


def _make(change: Any, retriever: Changeable) -> None:
    """Make a change, of an item that is put the prepared one, or raise what it failed with."""
    if isinstance(change, Exception):
        raise change
    if isinstance(change, ItemRemoved):
        with contextlib.suppress(UnknownItem):
            retriever.remove_item(change.item_id)
    elif isinstance(change, Event):
        retriever.add_event(change.user_id, change.item_id, change.time)
    else:
        retriever.apply_item(change)
