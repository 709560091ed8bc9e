"""A batch of requests: checked one by one, embedded and searched for together.

Shapes: B requests that are right, L history positions, D embedding, W width of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.features.feature_table import FeatureTable
from twotower.serving.best_items import Best, Choice, best_items
from twotower.serving.catalogue import Catalogue
from twotower.serving.live_items import Rows
from twotower.serving.requests import (
    Request,
    check_values,
    checked_k,
    checked_time,
    checked_times,
    known_rows,
    listed,
    named_features,
)
from twotower.serving.towers import ServingTowers, sound
from twotower.serving.user_histories import UserHistories

NO_ROWS: Rows = np.zeros(0, dtype=np.int64)
UNSOUND = (
    "features: the user tower makes no embedding with finite scores of this user; give values of the size "
    "that the training data have"
)


@dataclass(frozen=True, eq=False)
class _Checked:
    """A request that is right: `features` are None of a user of the bundle, whose row is else 0; times are
    unix seconds, and history rows and times [L], as the towers take them.
    """

    user_row: int
    features: Mapping[str, Any] | None
    history_rows: Rows
    history_times: Rows
    request_time: int
    choice: Choice


class Answering:
    """From requests to rows; the caller holds the catalogue still."""

    def __init__(
        self, bundle: Bundle, towers: ServingTowers, catalogue: Catalogue, histories: UserHistories
    ) -> None:
        self._users = bundle.model.users
        self._request_time = bundle.request_time
        self._exclude_seen = bundle.manifest.exclude_seen
        self._towers = towers
        self._catalogue = catalogue
        self._histories = histories

    def best(self, requests: Sequence[Request]) -> list[Best | InputError]:
        """Answer each request, or say what is wrong with it; one pass of the user tower for all."""
        found: list[_Checked | InputError] = [self._asked(request) for request in requests]
        asked = [each for each in found if isinstance(each, _Checked)]
        if not asked:
            return [each for each in found if isinstance(each, InputError)]
        queries = self._towers.embed_users(
            _user_features(self._users, asked),
            np.stack([each.history_rows for each in asked]),
            np.stack([each.history_times for each in asked]),
            np.array([each.request_time for each in asked], dtype=np.int64),
        )
        fits = sound(queries)
        choices = [each.choice for each, fit in zip(asked, fits, strict=True) if fit]
        answers = iter(best_items(self._catalogue.index, self._catalogue.items, queries[fits], choices))
        embedded = iter([next(answers) if fit else InputError(UNSOUND) for fit in fits])
        return [each if isinstance(each, InputError) else next(embedded) for each in found]

    def choice(self, k: int, allow: Any, deny: Any, where: Mapping[str, Any], seen: Rows = NO_ROWS) -> Choice:
        """Return what may be recommended; see `Request`. Raises InputError as `Retriever.recommend`."""
        items = self._catalogue.items
        k = checked_k(k)
        allowed = None if allow is None else np.unique(known_rows(items, allow, "allow", live=True))
        if where:
            meets = self._catalogue.attributes.meeting(where, items.num_rows) & items.live_mask()
            allowed = np.flatnonzero(meets) + 1 if allowed is None else allowed[meets[allowed - 1]]
        excluded = np.unique(np.concatenate([items.latest(seen), items.rows(listed(deny, "deny"))]))
        return Choice(k, excluded[items.live(excluded)], allowed)

    def _asked(self, request: Request) -> _Checked | InputError:
        try:
            return self._checked(request)
        except InputError as error:
            return error

    def _checked(self, request: Request) -> _Checked:
        now = self._request_time
        if request.request_time is not None:
            now = checked_time(request.request_time, "request_time")
        user_row, features = 0, None
        if request.user_id is None:
            features = named_features(self._users, request.features, "user_id")
            check_values(self._users, [features])
            rows = known_rows(self._catalogue.items, request.history, "history", live=False)
            given = checked_times(request.history_times, len(rows), now)
            times = np.array(given, dtype=np.int64)
        elif request.features or listed(request.history, "history") or request.history_times is not None:
            raise InputError(
                "user_id: this user's features and history are known; "
                "leave out features, history and history_times, or user_id"
            )
        else:
            user = self._histories.find(request.user_id)
            user_row = user.row
            times, rows = self._histories.all(user)
            if request.request_time is None:
                now = max(now, self._histories.latest_time(user))
        exclude_seen = self._exclude_seen if request.exclude_seen is None else request.exclude_seen
        seen = rows if exclude_seen else NO_ROWS
        choice = self.choice(request.k, request.allow, request.deny, request.where, seen)
        latest = self._histories.for_towers(rows, times, self._towers.length)
        return _Checked(user_row, features, *latest, now, choice)


def _user_features(users: FeatureTable, asked: Sequence[_Checked]) -> dict[str, Tensor]:
    features = users.gather(torch.tensor([each.user_row for each in asked]))
    new = [place for place, each in enumerate(asked) if each.features]
    if not new:
        return features
    encoded = users.encode([dict(asked[place].features or {}) for place in new])
    places = torch.tensor(new)
    return {
        name: values.index_copy(0, places, encoded[name].to(values.dtype))
        for name, values in features.items()
    }
