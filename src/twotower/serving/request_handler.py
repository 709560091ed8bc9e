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
from twotower.serving.live_items import Rows
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
from twotower.serving.towers import NOT_FINITE, are_valid, embed_users
from twotower.serving.user_histories import NO_HISTORY, NO_ROWS, KnownUser, UserHistories, UserHistory
from twotower.serving.user_profiles import UserContext, UserProfiles


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
        checked = [self._check(request) for request in requests]
        valid = [each for each in checked if isinstance(each, _ValidRequest)]
        found = iter(self._top_items(valid) if valid else [])
        return [each if isinstance(each, InputError) else next(found) for each in checked]

    def _top_items(self, valid: Sequence[_ValidRequest]) -> list[TopItems | InputError]:
        features = self._profiles.encoded([each.user_context for each in valid])
        if any(each.context for each in valid):
            features |= self._model.contexts.encode([dict(each.context) for each in valid])
        history = self._histories.inputs([each.history for each in valid])
        now = np.array([each.request_time for each in valid], dtype=np.int64)
        queries = embed_users(self._model, features, history, now)
        is_valid = are_valid(queries)
        choices = [each.choice for each, fits in zip(valid, is_valid, strict=True) if fits]
        found = iter(top_items(self._catalogue.index, self._catalogue.items, queries[is_valid], choices))
        error = InputError(f"features: the embedding of this user {NOT_FINITE}")
        return [next(found) if fits else error for fits in is_valid]

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
        excluded = np.unique(excluded)
        return Choice(k, excluded[items.live(excluded)], allowed)

    def _check(self, request: Request) -> _ValidRequest | InputError:
        try:
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
        except InputError as error:
            return error
        return _ValidRequest(user_context, context, found, now, choice)

    def _history(self, request: Request, user: KnownUser | None) -> tuple[UserHistory, int]:
        """Return the history of the user followed by the session, and the time of the request."""
        now = self._request_time
        if request.request_time is not None:
            now = checked_time(request.request_time, "request_time")
        elif user is not None:
            now = max(now, self._histories.latest_time(user))
        found = NO_HISTORY if user is None else self._histories.interactions(user)
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
