"""Recommendations from a bundle, with live changes of items, users and events.

Shapes: B valid requests, D embedding.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from twotower.bundle.embed import CONTEXT, NOT_FINITE, NOTHING, Rows, are_valid, checked_features, embed_users
from twotower.bundle.manifest import bundle_version
from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.data.tables import USER_ID
from twotower.index.ground_truth import contains
from twotower.serving.live_catalogue import LiveCatalogue, PreparedItem
from twotower.serving.live_items import ItemId, Recommendation, UserId
from twotower.serving.requests import (
    EventTypes,
    Moment,
    Request,
    Rules,
    UnknownUser,
    checked_k,
    checked_time,
    checked_times,
    known_rows,
    listed,
)
from twotower.serving.top_items import Choice, TopItems, most_similar, top_items
from twotower.serving.user_histories import INTERACTION, NO_HISTORY, KnownUser, UserHistories, UserHistory
from twotower.serving.user_profiles import UserProfiles


@dataclass(frozen=True, eq=False)
class _ValidRequest:
    """A checked request: time in unix seconds; features and context by column, as the towers take them."""

    user: KnownUser | None
    features: Mapping[str, Any]
    context: Mapping[str, Any]
    history: UserHistory
    request_time: int
    choice: Choice


class Retriever:
    """Recommends items from a bundle. Thread-safe.

    `Request` describes the arguments of requests. Live changes (items, profiles, events) are stored in this
    object, not in the bundle. A method that raises an error has changed nothing. To read `catalogue`, `users`
    and `profiles` in one consistent state, hold `catalogue.lock` for reading.

    Attributes:
        version: name of the run of the bundle, and the first digits of the checksum of its manifest.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.version = bundle_version(bundle.folder, bundle.manifest)
        catalogue = LiveCatalogue(bundle)
        users = UserHistories(bundle, catalogue.items)
        self.bundle, self.catalogue, self.users = bundle, catalogue, users
        self._items, self._lock = catalogue.items, catalogue.lock
        self.event_types = EventTypes(bundle.manifest)
        self.profiles = UserProfiles(bundle, users, catalogue.lock)

    @classmethod
    def open(cls, folder: Path | str, trusted_packages: Collection[str] = ()) -> "Retriever":
        """Verify and read a bundle; it may run code of `trusted_packages`. Raises InputError."""
        try:
            return cls(read_bundle(Path(folder), trusted_packages))
        except InputError:
            raise
        except Exception as error:  # the files are consistent, but the bundle cannot be served
            raise InputError(
                f"{folder}: cannot be served ({type(error).__name__}: {error!s:.300})"
            ) from error

    @property
    def num_items(self) -> int:
        """Number of offered items."""
        return self._items.num_live

    @property
    def item_ids(self) -> list[ItemId]:
        """Ids of the offered items."""
        with self._lock.reading():
            return self._items.ids_of(self._items.live_rows())

    @property
    def user_ids(self) -> list[UserId]:
        """Ids of the users of the bundle, then of users with events or profiles only."""
        with self._lock.reading():
            return self.users.ids

    @property
    def attributes(self) -> dict[str, str]:
        """Columns that `where` can filter by -> `text`, `number` or `tags`."""
        with self._lock.reading():
            return self.catalogue.attributes.kinds

    def label(self, item_id: ItemId) -> str | None:
        """Return the label of an item, None if it has none. Raises UnknownItem."""
        with self._lock.reading():
            return self._items.label_of(int(known_rows(self._items, [item_id], "item_id", live=False)[0]))

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return an item, also a removed one, as plain values. Raises UnknownItem.

        Keys: `item_id`; `label`; `offered`, whether it can be recommended; `live`, whether it was added or
        changed after the bundle was written; `features`, the raw values by column, None if missing.
        """
        with self._lock.reading():
            return self.catalogue.described(item_id)

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return a user as plain values. Raises UnknownUser.

        Keys: `user_id`; `known`, whether the bundle has the user; `live`, whether a profile was put;
        `features`, the current raw values by column.
        """
        with self._lock.reading():
            return self.profiles.described(self.users.find(user_id))

    def history(self, user_id: UserId) -> list[ItemId]:
        """Return the item ids of a user's history, oldest first, including events. Raises UnknownUser."""
        with self._lock.reading():
            return self._items.ids_of(self.users.interactions(self.users.find(user_id))["row"])

    def recommend(self, user_id: UserId, k: int = 10, **rules: Unpack[Moment]) -> list[Recommendation]:
        """Recommend items to a user of the bundle, or with events or a profile. Raises InputError."""
        if user_id is None:
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
        """Recommend items to a user without id; see `Request` for the arguments. Raises InputError."""
        return self.answer_one(Request(None, features, history, history_times, k=k, **rules))

    def answer(self, requests: Sequence[Request]) -> list[list[Recommendation] | InputError]:
        """Answer several requests on one state of the catalogue; an invalid request fails alone.

        Scores, and so the order of items, can differ from single requests in the last digits.
        """
        with self._lock.reading():
            checked = [self._check(request) for request in requests]
            valid = [each for each in checked if isinstance(each, _ValidRequest)]
            found = iter(self._top_items(valid) if valid else [])
            return [each if isinstance(each, InputError) else next(found) for each in checked]

    def similar(
        self, item_id: ItemId, k: int = 10, where: Mapping[str, Any] = NOTHING
    ) -> list[Recommendation]:
        """Return the most similar items by cosine, without the item itself. Raises InputError."""
        with self._lock.reading():
            rows = known_rows(self._items, [item_id], "item_id", live=True)
            choice = self._choice(k, None, [item_id], where)
            query = self.bundle.model.layout.item_queries(self._items.embeddings(rows))[0]
            return self._listed(most_similar(self._items, int(rows[0]), query, choice))

    def answer_one(self, request: Request) -> list[Recommendation]:
        """Answer one request. Raises InputError if it is invalid."""
        (answer,) = self.answer([request])
        if isinstance(answer, InputError):
            raise answer
        return answer

    def add_item(self, item_id: ItemId, features: Mapping[str, Any]) -> None:
        """Add an item; see `put_item`. Raises InputError if the item is already offered."""
        (prepared,) = self.catalogue.prepare([(item_id, features)])
        with self._lock.writing():
            if self._items.live(self._items.rows([prepared.item_id]))[0]:
                raise InputError(
                    f"item_id: item {item_id!r} is already in the catalogue; change it with put_item(), "
                    "remove it first, or choose another id"
                )
            self.catalogue.put([prepared])

    def put_item(self, item_id: ItemId, features: Mapping[str, Any]) -> bool:
        """Add or change an item, for all later requests. Returns whether it is new.

        The item tower embeds it from these features; missing ones are unknown, and so is the id unless the
        bundle has it. History encoders with `history.items: tower` read it in histories; encoders with a
        table read only items of the bundle. A changed item remains in histories.

        Raises InputError: the id has another type, or a feature is unknown.
        """
        return self.apply_items(self.catalogue.prepare([(item_id, features)]))[0]

    def apply_items(self, prepared: Sequence[PreparedItem]) -> list[bool]:
        """Add or change items with distinct ids that `LiveCatalogue.prepare` returned; see `put_item`."""
        with self._lock.writing():
            return self.catalogue.put(prepared)

    def check_offered(self, item_id: ItemId) -> None:
        """Raise UnknownItem unless an item is offered."""
        with self._lock.reading():
            known_rows(self._items, [item_id], "item_id", live=True)

    def remove_item(self, item_id: ItemId) -> None:
        """Stop offering an item; it stays in histories. Raises UnknownItem."""
        with self._lock.writing():
            rows = known_rows(self._items, [item_id], "item_id", live=True)
            self.catalogue.take_out(rows)

    def put_user(self, user_id: UserId, features: Mapping[str, Any]) -> bool:
        """Set the profile of a user, for all later requests. Returns whether there was none before.

        Missing features are unknown. A user that the bundle does not have gets the unknown id. Raises
        InputError: the id has another type, or a feature is unknown.
        """
        return self.profiles.put(self.profiles.prepare([(user_id, features)]))[0]

    def forget_user(self, user_id: UserId) -> None:
        """Remove the profile of a user, so that the bundle's row is used. Raises UnknownUser: no profile."""
        self.profiles.forget(user_id)

    def check_event(self, user_id: UserId, item_id: ItemId, time: int, event: str | None = None) -> bool:
        """Return whether such an event is stored; otherwise its item is not checked. Raises InputError."""
        is_stored = self.event_types.type_of(event).role != "ignored"
        self.users.checked(user_id)
        checked_time(time, "time")
        if is_stored:
            with self._lock.reading():
                known_rows(self._items, [item_id], "item_id", live=False)
        return is_stored

    def add_event(self, user_id: UserId, item_id: ItemId, time: int, event: str | None = None) -> None:
        """Add an interaction to a user's history, for all later requests.

        An event with the same user, item, time (unix seconds) and type is added once. Type None is a positive
        interaction, and the same event as one of any type that is known. Raises UnknownItem, or InputError:
        invalid user id, time or event type.
        """
        event_type = self.event_types.type_of(event)
        key = self.users.checked(user_id)
        when = checked_time(time, "time")
        with self._lock.writing():
            row = int(known_rows(self._items, [item_id], "item_id", live=False)[0])
            if event_type.is_of_history:
                self.users.add(key, row, when, event_type.code, event_type.role == "positive")

    def _listed(self, best: TopItems) -> list[Recommendation]:
        rows, scores = best
        labels = map(self._items.label_of, rows.tolist())
        return list(map(Recommendation, self._items.ids_of(rows), scores.tolist(), labels))

    def _top_items(self, valid: Sequence[_ValidRequest]) -> list[list[Recommendation] | InputError]:
        """Return top items or an error for each request, with one pass of the user tower."""
        features = self.profiles.encoded([each.user for each in valid], [each.features for each in valid])
        if any(each.context for each in valid):
            features |= self.bundle.model.contexts.encode([dict(each.context) for each in valid])
        history = self.users.inputs([each.history for each in valid])
        now = np.array([each.request_time for each in valid], dtype=np.int64)
        queries = embed_users(self.bundle.model, features, history, now)
        is_valid = are_valid(queries)
        choices = [each.choice for each, fits in zip(valid, is_valid, strict=True) if fits]
        found = iter(top_items(self.catalogue.index, self.catalogue.items, queries[is_valid], choices))
        error = InputError(f"features: the embedding of this user {NOT_FINITE}")
        return [self._listed(next(found)) if fits else error for fits in is_valid]

    def _choice(
        self, k: int, allow: Any, deny: Any, where: Mapping[str, Any], seen: Rows | None = None
    ) -> Choice:
        """Return which items may be recommended; see `Request`. Raises InputError."""
        items = self._items
        k = checked_k(k)
        allowed = None if allow is None else np.unique(known_rows(items, allow, "allow", live=True))
        embeddings = None
        if not isinstance(where, Mapping) or where:
            matching, of_matching = self.catalogue.find_matches(where)
            if allowed is None:
                allowed, embeddings = matching, of_matching
            else:
                allowed = allowed[contains(matching, allowed)]
        excluded = items.rows(listed(deny, "deny"))
        if seen is not None:
            excluded = np.concatenate([items.latest(seen), excluded])
        excluded = np.sort(excluded[items.live(excluded)])
        is_first = np.ones(len(excluded), dtype=np.bool_)
        is_first[1:] = excluded[1:] != excluded[:-1]
        return Choice(k, excluded[is_first], allowed, embeddings)  # np.unique takes three times as long

    def _check(self, request: Request) -> _ValidRequest | InputError:
        try:
            user = None if request.user_id is None else self.users.find(request.user_id)
            features = self.profiles.checked(request.features)
            context = request.context
            if not isinstance(context, Mapping) or context:
                (context,) = checked_features(self.bundle.model.contexts, [context], USER_ID, part=CONTEXT)
            found, now = self._history(request, user)
            exclude_seen = (
                self.bundle.manifest.exclude_seen if request.exclude_seen is None else request.exclude_seen
            )
            seen = found["row"][found["is_positive"]] if exclude_seen else None
            choice = self._choice(request.k, request.allow, request.deny, request.where, seen)
        except InputError as error:
            return error
        return _ValidRequest(user, features, context, found, now, choice)

    def _history(self, request: Request, user: KnownUser | None) -> tuple[UserHistory, int]:
        """Return the history of the user followed by the session, and the time of the request."""
        now = self.bundle.manifest.request_time
        if request.request_time is not None:
            now = checked_time(request.request_time, "request_time")
        elif user is not None:
            now = max(now, self.users.latest_time(user))
        found = NO_HISTORY if user is None else self.users.interactions(user)
        session = listed(request.history, "history")
        if not session and request.history_times is None and request.history_events is None:
            return found, now
        names = [None] * len(session) if request.history_events is None else request.history_events
        given_events = listed(names, "history_events", "event types", len(session))
        event_types = [self.event_types.type_of(name, "history_events") for name in given_events]
        given = checked_times(request.history_times, len(session), now)
        if request.request_time is None and user is not None:
            now = max([now, *given])  # like events
        later = np.zeros(len(session), dtype=INTERACTION)
        later["row"] = known_rows(self.catalogue.items, session, "history", live=False)
        later["time"] = given
        later["code"] = [each.code for each in event_types]
        later["is_positive"] = [each.role == "positive" for each in event_types]
        return np.concatenate([found, later[[each.is_of_history for each in event_types]]]), now
