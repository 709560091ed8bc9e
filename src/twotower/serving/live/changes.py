"""What may change while a service runs: an item is put or removed, a user does something."""

import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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


def replay(changes: Iterable[Change], retriever: Changeable) -> int:
    """Make changes again that were kept; twice is harmless, and so is the removal of what is not offered.

    Items that follow one another are embedded together.

    Returns:
        How many the retriever could not take.
    """
    skipped = 0
    for _, same in itertools.groupby(changes, type):
        while some := list(itertools.islice(same, TOGETHER)):
            puts = [(each.item_id, each.features) for each in some if isinstance(each, ItemPut)]
            steps = [partial(_put, each, retriever) for each in retriever.prepare_items(puts)]
            steps += [partial(_apply, each, retriever) for each in some if not isinstance(each, ItemPut)]
            for step in steps:
                try:
                    step()
                except InputError as error:
                    skipped += 1
                    LOG.debug("left out for this bundle: %s", error)
    return skipped


def _put(prepared: Any, retriever: Changeable) -> None:
    if isinstance(prepared, InputError):
        raise prepared
    retriever.apply_item(prepared)


def _apply(change: ItemRemoved | Event, retriever: Changeable) -> None:
    if isinstance(change, ItemRemoved):
        with contextlib.suppress(UnknownItem):
            retriever.remove_item(change.item_id)
    else:
        retriever.add_event(change.user_id, change.item_id, change.time)
