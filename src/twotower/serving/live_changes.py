"""What changes while a retriever answers: items come and go, users do something, the index is built anew."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.config.errors import InputError
from twotower.serving.catalogue import Catalogue, PreparedItem
from twotower.serving.drift import Drift
from twotower.serving.live_items import ItemId, UserId
from twotower.serving.requests import checked_id, checked_time, known_rows
from twotower.serving.user_histories import UserHistories


class LiveChanges:
    """The changing half of a `retriever.Retriever`; what raises an error has changed nothing."""

    def __init__(self, catalogue: Catalogue, users: UserHistories) -> None:
        self._catalogue = catalogue
        self._items = catalogue.items
        self._lock = catalogue.lock
        self._users = users

    def add_item(self, item_id: ItemId, features: Mapping[str, Any]) -> None:
        """Put in an item that is not offered; see `put_item`, and InputError where it is offered."""
        (prepared,) = self.prepare_items([(item_id, features)])
        with self._lock.writing():
            if self._items.live(self._items.rows([prepared.item_id]))[0]:
                raise InputError(
                    f"add_item: item {item_id!r} is already in the catalogue; change it with put_item, "
                    "remove it first, or choose another id"
                )
            self._catalogue.put([prepared])

    def put_item(self, item_id: ItemId, features: Mapping[str, Any]) -> bool:
        """Put in an item, found by every request made after this returns; tell whether it is new.

        The item tower embeds it from these features alone: what is left out counts as unknown, and so does
        the id, unless the bundle knows it. In later histories it counts where the history encoder reads item
        towers (`history.items: tower`); an encoder with a table of its own knows only the bundle's items. A
        changed item stays in the histories it is in.

        Raises InputError: the id is of another kind, or a feature is not known.
        """
        return self.apply_items(self.prepare_items([(item_id, features)]))[0]

    def prepare_items(self, puts: Sequence[tuple[ItemId, Mapping[str, Any]]]) -> list[PreparedItem]:
        """Check and embed items in one pass, each with its id, as `put_item` does, and change nothing."""
        return self._catalogue.prepare(puts)

    def apply_items(self, prepared: Sequence[PreparedItem]) -> list[bool]:
        """Put in several items with different ids that this object prepared; see `put_item`."""
        with self._lock.writing():
            return self._catalogue.put(prepared)

    def check_offered(self, item_id: ItemId) -> None:
        """Raise UnknownItem unless an item is offered."""
        with self._lock.reading():
            known_rows(self._items, [item_id], "item", live=True)

    def remove_item(self, item_id: ItemId) -> None:
        """Stop offering an item from the next request on, or UnknownItem; it stays in histories."""
        with self._lock.writing():
            rows = known_rows(self._items, [item_id], "remove_item", live=True)
            self._catalogue.take_out(rows)

    def check_event(self, user_id: UserId, item_id: ItemId | None, time: int) -> None:
        """Raise InputError unless `add_event` would take it; without an item only the rest is looked at."""
        checked_id(user_id, self._users.is_text, "user_id", "user ids of this bundle")
        checked_time(time, "time")
        if item_id is not None:
            with self._lock.reading():
                known_rows(self._items, [item_id], "event", live=False)

    def add_event(self, user_id: UserId, item_id: ItemId, time: int) -> None:
        """Let an interaction enter a user's history, from the next request on.

        An event of the same user, item and time (unix seconds) is taken once. Raises UnknownItem where there
        never was such an item, InputError where the user's id is of another kind, or the time is none.
        """
        key = checked_id(user_id, self._users.is_text, "user_id", "user ids of this bundle")
        when = checked_time(time, "time")
        with self._lock.writing():
            self._users.add(key, int(known_rows(self._items, [item_id], "event", live=False)[0]), when)

    def drift(self) -> Drift:
        """Return how far the catalogue has moved since its index was built."""
        return self._catalogue.drift()

    def rebuild(self) -> None:
        """Build the index anew over what is offered; searches and changes go on, then it is swapped in."""
        self._catalogue.rebuild()
