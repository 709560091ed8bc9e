"""A batch of requests: checked one by one, embedded and searched together.

Shapes: B valid requests, L history positions, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.data.tables import USER_ID
from twotower.serving.event_types import EventTypes
from twotower.serving.live_catalogue import LiveCatalogue
from twotower.serving.live_items import Floats, LiveItems, Rows
from twotower.serving.requests import (
    CONTEXT,
    Request,
    check_values,
    checked_k,
    checked_time,
    checked_times,
    known_rows,
    listed,
    named_features,
)
from twotower.serving.top_items import Choice, TopItems, top_items
from twotower.serving.towers import are_valid, embed_users
from twotower.serving.user_histories import NO_ROWS, KnownUser, UserHistories, UserHistory
from twotower.serving.user_profiles import UserContext, UserProfiles

INVALID_EMBEDDING = (
    "features: the user tower makes no embedding with finite scores of this user; give values of the size "
    "that the training data have"
)


@dataclass(frozen=True, eq=False)
class _ValidRequest:
    """A checked request: time in unix seconds, context as the towers take it."""

    user_context: UserContext
    context: Mapping[str, Any]
    history: UserHistory
    request_time: int
    choice: Choice


class RequestHandler:
    """Computes the top items of requests; the caller holds the lock of the catalogue for reading."""

    def __init__(
        self,
        bundle: Bundle,
        catalogue: LiveCatalogue,
        histories: UserHistories,
        profiles: UserProfiles,
        event_types: EventTypes,
    ) -> None:
        self._request_time = bundle.request_time
        self._exclude_seen = bundle.manifest.exclude_seen
        self._model = bundle.model
        self._catalogue = catalogue
        self._histories = histories
        self._profiles = profiles
        self._event_types = event_types

    def best(self, requests: Sequence[Request]) -> list[TopItems | InputError]:
        """Return top items or an error for each request, with one forward pass of the user tower."""
        found: list[_ValidRequest | InputError] = [self._check(request) for request in requests]
        asked = [each for each in found if isinstance(each, _ValidRequest)]
        if not asked:
            return [each for each in found if isinstance(each, InputError)]
        queries = self._embedded(asked)
        fits = are_valid(queries)
        choices = [each.choice for each, fit in zip(asked, fits, strict=True) if fit]
        answers = iter(top_items(self._catalogue.index, self._catalogue.items, queries[fits], choices))
        embedded = iter([next(answers) if fit else InputError(INVALID_EMBEDDING) for fit in fits])
        return [each if isinstance(each, InputError) else next(embedded) for each in found]

    def _embedded(self, asked: Sequence[_ValidRequest]) -> Floats:
        """Return user embeddings, [B, D]."""
        features = self._profiles.encoded([each.user_context for each in asked])
        if any(each.context for each in asked):
            features |= self._model.contexts.encode([dict(each.context) for each in asked])
        history = self._histories.inputs([each.history for each in asked])
        now = np.array([each.request_time for each in asked], dtype=np.int64)
        return embed_users(self._model, features, history, now)

    def choice(self, k: int, allow: Any, deny: Any, where: Mapping[str, Any], seen: Rows = NO_ROWS) -> Choice:
        """Return which items may be recommended; see `Request`. Raises InputError."""
        items = self._catalogue.items
        k = checked_k(k)
        allowed = None if allow is None else np.unique(known_rows(items, allow, "allow", live=True))
        if where:
            meets = self._catalogue.attributes.matches(where, items.num_rows) & items.live_mask()
            allowed = np.flatnonzero(meets) + 1 if allowed is None else allowed[meets[allowed - 1]]
        excluded = items.latest(seen)
        if denied := listed(deny, "deny"):
            excluded = np.concatenate([excluded, items.rows(denied)])
        return Choice(k, _distinct(excluded, items), allowed)

    def _check(self, request: Request) -> _ValidRequest | InputError:
        try:
            return self._checked(request)
        except InputError as error:
            return error

    def _checked(self, request: Request) -> _ValidRequest:
        user = None if request.user_id is None else self._histories.find(request.user_id)
        user_context = self._profiles.user_context(user, request.features)
        context = request.context
        if not isinstance(context, Mapping) or context:
            context = named_features(self._model.contexts, context, USER_ID, part=CONTEXT)
            check_values(self._model.contexts, [context], CONTEXT)
        found, now = self._history(request, user)
        exclude_seen = self._exclude_seen if request.exclude_seen is None else request.exclude_seen
        seen = found.rows[found.is_positive] if exclude_seen else NO_ROWS
        choice = self.choice(request.k, request.allow, request.deny, request.where, seen)
        return _ValidRequest(user_context, context, found, now, choice)

    def _history(self, request: Request, user: KnownUser | None) -> tuple[UserHistory, int]:
        """Return the history of the user followed by the session, and the time of the request."""
        now = self._request_time
        if request.request_time is not None:
            now = checked_time(request.request_time, "request_time")
        elif user is not None:
            now = max(now, self._histories.latest_time(user))
        found = UserHistory.of() if user is None else self._histories.interactions(user)
        session = listed(request.history, "history")
        if not session and request.history_times is None and request.history_events is None:
            return found, now
        event_types = self._event_types.types_of(request.history_events, len(session))
        given = checked_times(request.history_times, len(session), now)
        if request.request_time is None and user is not None:
            now = max([now, *given])  # like events
        rows = known_rows(self._catalogue.items, session, "history", live=False)
        later = UserHistory(
            times=np.array(given, dtype=np.int64),
            rows=rows,
            codes=np.array([each.code for each in event_types], dtype=np.int64),
            is_positive=np.array([each.role == "positive" for each in event_types], dtype=np.bool_),
        )
        kept = np.array([each.is_of_history for each in event_types], dtype=np.bool_)
        return found.then(later[np.flatnonzero(kept)]), now


def _distinct(rows: Rows, items: LiveItems) -> Rows:
    """Return the distinct offered rows, ascending."""
    rows = np.sort(rows)
    kept = items.live(rows)
    kept[1:] &= rows[1:] != rows[:-1]
    return rows[kept]
