"""The reader of a bundle: recommends, and takes items and events in while it does."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from twotower.bundle.manifest import version_of
from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.serving.drift import Drift
from twotower.serving.event_types import EventTypes
from twotower.serving.live_catalogue import LiveCatalogue, PreparedItem
from twotower.serving.live_items import ItemId, Recommendation, UserId
from twotower.serving.request_handler import RequestHandler
from twotower.serving.requests import NOTHING, Moment, Request, Rules, UnknownUser, checked_time, known_rows
from twotower.serving.top_items import TopItems, most_alike
from twotower.serving.towers import towers_of
from twotower.serving.user_histories import UserHistories
from twotower.serving.user_profiles import UserProfiles


class Retriever:
    """Answers from a bundle; safe from several threads.

    What requests take is described at `Request`. Whatever is left out, k items come back where k are left.
    Items, profiles and events that came in live in this object, not in the bundle; what raises an error has
    changed nothing. `version` is the name of the bundle's run and the first of its manifest's own checksum.
    Whoever reads several things of `catalogue`, `users` and `profiles` in one state holds the first's lock.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.version = version_of(bundle.folder, bundle.manifest)
        towers = towers_of(bundle)
        catalogue = LiveCatalogue(bundle, towers)
        by_table = bundle.model.history.config.reads_table
        users = UserHistories(bundle.users, bundle.history, catalogue.items, by_table)
        self.bundle, self.catalogue, self.users = bundle, catalogue, users
        self._items, self._lock = catalogue.items, catalogue.lock
        self.event_types = EventTypes(bundle.manifest)
        self.profiles = UserProfiles(bundle, towers, users, catalogue.lock)
        self._answering = RequestHandler(bundle, towers, catalogue, users, self.profiles, self.event_types)

    @classmethod
    def open(cls, folder: Path | str, trusted_packages: Collection[str] = ()) -> "Retriever":
        """Verify and read a bundle, which may name, and so run, code of these packages; or InputError."""
        try:
            return cls(read_bundle(Path(folder), trusted_packages))
        except InputError:
            raise
        except Exception as error:  # what is in the files agrees, and cannot be served all the same
            raise InputError(
                f"{folder}: cannot be served ({type(error).__name__}: {error!s:.300})"
            ) from error

    @property
    def num_items(self) -> int:
        """Items that are offered."""
        return self._items.num_live

    @property
    def num_left_behind(self) -> int:
        """Rows of items put in since that this object keeps though they are offered no more."""
        return self._items.num_left_behind

    @property
    def item_ids(self) -> list[ItemId]:
        """Ids of the items that are offered."""
        with self._lock.reading():
            return self._items.ids_of(self._items.live_rows())

    @property
    def user_ids(self) -> list[UserId]:
        """Ids of the users the bundle knows, then of those whom only events or profiles know."""
        with self._lock.reading():
            return self.users.ids

    @property
    def attributes(self) -> dict[str, str]:
        """The columns that `where` may name, and what they hold: `text`, `number` or `tags`."""
        with self._lock.reading():
            return self.catalogue.attributes.kinds

    def label(self, item_id: ItemId) -> str | None:
        """Return the name of an item for people, None where there is none; UnknownItem if it never was."""
        with self._lock.reading():
            return self._items.label_of(int(known_rows(self._items, [item_id], "item_id", live=False)[0]))

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return what is known of an item, of a removed one too, as plain values.

        That is its `item_id` and `label`; `offered`, whether it is recommended; `live`, whether it came in or
        was changed since the bundle was made; its raw columns, `features`, None where one is missing. Raises
        UnknownItem where there never was such an item.
        """
        with self._lock.reading():
            return self.catalogue.described(item_id)

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return what is known of a user, as plain values, or UnknownUser.

        `known`: the bundle has the `user_id`; `live`: a profile was put in; `features`: the columns in force.
        """
        with self._lock.reading():
            return self.profiles.described(self.users.find(user_id))

    def history(self, user_id: UserId) -> list[ItemId]:
        """Return what a user already has, oldest first, events included. Raises UnknownUser."""
        with self._lock.reading():
            return self._items.ids_of(self.users.all(self.users.find(user_id))[1])

    def recommend(self, user_id: UserId, k: int = 10, **rules: Unpack[Moment]) -> list[Recommendation]:
        """Recommend to a user whom the bundle, an event or a profile knows; see `Request`, and InputError."""
        if user_id is None:  # which would mean a user who is described
            raise UnknownUser("user None: expected the id of a user; use recommend_new() for one without")
        return self.answer_one(Request(user_id, k=k, **rules))

    def recommend_new(
        self,
        features: Mapping[str, Any] = NOTHING,
        history: Sequence[ItemId] = (),
        k: int = 10,
        history_times: Sequence[int] | None = None,
        **rules: Unpack[Rules],
    ) -> list[Recommendation]:
        """Recommend to a user who is described; for the arguments see `Request`, and InputError."""
        return self.answer_one(Request(None, features, history, history_times, k=k, **rules))

    def answer(self, requests: Sequence[Request]) -> list[list[Recommendation] | InputError]:
        """Answer several requests of one state of the catalogue; a wrong one does not harm the others.

        Towers and index see all requests at once, so scores can differ from those of single requests in the
        last digits (up to about 1e-6 of their size), and with them the order of items that are so close.
        """
        with self._lock.reading():
            return [
                best if isinstance(best, InputError) else self._listed(best)
                for best in self._answering.best(requests)
            ]

    def similar(
        self, item_id: ItemId, k: int = 10, where: Mapping[str, Any] = NOTHING
    ) -> list[Recommendation]:
        """Return the items nearest to an item by angle (cosine), without itself; or InputError."""
        with self._lock.reading():
            rows = known_rows(self._items, [item_id], "item_id", live=True)
            choice = self._answering.choice(k, None, [item_id], where)
            query = self.bundle.model.layout.item_queries(self._items.embeddings(rows))[0]
            return self._listed(most_alike(self._items, int(rows[0]), query, choice))

    def answer_one(self, request: Request) -> list[Recommendation]:
        """Answer one request. Raises InputError: what is wrong with it."""
        (found,) = self.answer([request])
        if isinstance(found, InputError):
            raise found
        return found

    def add_item(self, item_id: ItemId, features: Mapping[str, Any]) -> None:
        """Put in an item that is not offered; see `put_item`, and InputError where it is offered."""
        (prepared,) = self.prepare_items([(item_id, features)])
        with self._lock.writing():
            if self._items.live(self._items.rows([prepared.item_id]))[0]:
                raise InputError(
                    f"item_id: item {item_id!r} is already in the catalogue; change it with put_item(), "
                    "remove it first, or choose another id"
                )
            self.catalogue.put([prepared])

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
        return self.catalogue.prepare(puts)

    def apply_items(self, prepared: Sequence[PreparedItem]) -> list[bool]:
        """Put in several items with different ids that this object prepared; see `put_item`."""
        with self._lock.writing():
            return self.catalogue.put(prepared)

    def check_offered(self, item_id: ItemId) -> None:
        """Raise UnknownItem unless an item is offered."""
        with self._lock.reading():
            known_rows(self._items, [item_id], "item_id", live=True)

    def remove_item(self, item_id: ItemId) -> None:
        """Stop offering an item from the next request on, or UnknownItem; it stays in histories."""
        with self._lock.writing():
            rows = known_rows(self._items, [item_id], "item_id", live=True)
            self.catalogue.take_out(rows)

    def put_user(self, user_id: UserId, features: Mapping[str, Any]) -> bool:
        """Put a user's profile in, whole, for every request made after this returns; tell if there was none.

        What is left out counts as unknown. A user whom the bundle does not know is known from then on, with
        the unknown id. Raises InputError: the id is of another kind, or a feature is not known.
        """
        return self.profiles.put(self.profiles.prepare([(user_id, features)]))[0]

    def forget_user(self, user_id: UserId) -> None:
        """Let what the bundle has of a user count again, or UnknownUser where no profile was put in."""
        self.profiles.forget(user_id)

    def check_event(
        self, user_id: UserId, item_id: ItemId | None, time: int, event: str | None = None
    ) -> None:
        """Raise InputError unless `add_event` would take it; without an item only the rest is looked at."""
        self.event_types.type_of(event)
        self.users.checked(user_id)
        checked_time(time, "time")
        if item_id is not None:
            with self._lock.reading():
                known_rows(self._items, [item_id], "item_id", live=False)

    def add_event(self, user_id: UserId, item_id: ItemId, time: int, event: str | None = None) -> None:
        """Let an interaction enter a user's history, from the next request on.

        An event of the same user, item, time (unix seconds) and word is taken once; None is an item that was
        chosen. Raises UnknownItem, or InputError: the user's id is of another kind, time or word are none.
        """
        did = self.event_types.type_of(event)
        key = self.users.checked(user_id)
        when = checked_time(time, "time")
        with self._lock.writing():
            row = int(known_rows(self._items, [item_id], "item_id", live=False)[0])
            if did.is_of_history:
                self.users.add(key, row, when, did.code, did.role == "positive")

    def drift(self) -> Drift:
        """Return how far the catalogue has moved since its index was built."""
        return self.catalogue.drift()

    def rebuild(self) -> None:
        """Build the index anew over what is offered; searches and changes go on, then it is swapped in."""
        self.catalogue.rebuild()

    def _listed(self, best: TopItems) -> list[Recommendation]:
        rows, scores = best
        labels = map(self._items.label_of, rows.tolist())
        return list(map(Recommendation, self._items.ids_of(rows), scores.tolist(), labels))
