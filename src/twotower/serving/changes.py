"""What may change while a service runs: an item is put or removed, a user does something."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from twotower.serving.recommendation import ItemId, UserId
from twotower.serving.requests import UnknownItem


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


class Changeable(Protocol):
    """What a change is made to: a retriever. What raises InputError has changed nothing."""

    def prepare_item(self, item_id: ItemId, features: Mapping[str, Any]) -> Any:
        """Check and embed an item, and change nothing."""

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


def apply(change: Change, retriever: Changeable) -> None:
    """Make a change again that was kept; twice is harmless, and so is the removal of what is not offered.

    Raises:
        InputError: the retriever cannot take it.
    """
    if isinstance(change, ItemPut):
        retriever.apply_item(retriever.prepare_item(change.item_id, change.features))
    elif isinstance(change, ItemRemoved):
        with contextlib.suppress(UnknownItem):
            retriever.remove_item(change.item_id)
    else:
        retriever.add_event(change.user_id, change.item_id, change.time)
