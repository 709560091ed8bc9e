"""What may change while a service runs: an item is put or removed, a user does something."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twotower.serving.recommendation import ItemId, UserId


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
