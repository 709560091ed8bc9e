"""Features of users: the bundle's rows, live profiles, and values of requests.

Shapes: B users, W width of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twotower.bundle.embed import NOTHING, check_embeddings, checked_features, embed_users
from twotower.bundle.read import Bundle
from twotower.data.tables import USER_ID
from twotower.index.read_write_lock import ReadWriteLock
from twotower.serving.attributes import Attributes, plain
from twotower.serving.live_items import UserId, as_id
from twotower.serving.requests import UnknownUser
from twotower.serving.user_histories import NO_HISTORY, KnownUser, UserHistories


@dataclass(frozen=True, eq=False)
class PreparedUser:
    """A checked profile that is not stored yet: raw values by column, encoded values, each [1, W]."""

    user_id: UserId
    record: Mapping[str, Any]
    encoded: Mapping[str, Tensor]


class UserProfiles:
    """Live profiles by user; a profile replaces all features of the bundle's row except the id.

    `put` and `forget` take `lock` for writing, `check_profile` for reading. `prepare` needs no lock; callers
    of the other methods hold it for reading.
    """

    def __init__(self, bundle: Bundle, histories: UserHistories, lock: ReadWriteLock) -> None:
        self._model, self._table = bundle.model, bundle.model.users
        self._histories, self._lock = histories, lock
        self._request_time = bundle.manifest.request_time
        self._raw = Attributes(bundle.user_table.drop(columns=USER_ID), self._table, None)
        # A profile does not change features of the id.
        self._columns = {
            name: feature.column
            for name, feature in self._table.table_features.items()
            if feature.column != USER_ID
        }
        self._profiles: dict[UserId, PreparedUser] = {}

    def facets(self) -> list[dict[str, Any]]:
        """Describe the columns of users that features read; see `Attributes.facets`."""
        read = set(self._columns.values())
        return [facet for facet in self._raw.facets() if facet["name"] in read]

    def prepare(self, puts: Sequence[tuple[UserId, Mapping[str, Any]]]) -> list[PreparedUser]:
        """Check and encode profiles without storing them.

        They can have columns of the user table that no feature reads. Raises InputError: an id has another
        type, a column is unknown, or a value is invalid.
        """
        keys = [self._histories.checked(user_id) for user_id, _ in puts]
        records = checked_features(self._table, [each for _, each in puts], USER_ID, self._raw.columns)
        for record in records:
            self._raw.check(record)
        encoded = self._encoded(records)
        history = self._histories.inputs([NO_HISTORY] * len(keys))
        unknown = self._table.gather(torch.zeros(len(keys), dtype=torch.int64))
        now = np.full(len(keys), self._request_time, dtype=np.int64)
        embeddings = embed_users(self._model, {**unknown, **encoded}, history, now)
        check_embeddings(embeddings, "user", keys)
        rows = [{name: values[row : row + 1] for name, values in encoded.items()} for row in range(len(keys))]
        return [PreparedUser(*each) for each in zip(keys, records, rows, strict=True)]

    def put(self, users: Sequence[PreparedUser]) -> list[bool]:
        """Store profiles of distinct users; returns for each whether the user had none."""
        with self._lock.writing():
            new = [user.user_id not in self._profiles for user in users]
            for user in users:
                self._profiles[user.user_id] = user
                self._histories.know(user.user_id)
            return new

    def forget(self, user_id: UserId) -> None:
        """Remove a profile. Raises UnknownUser: the user has none."""
        with self._lock.writing():
            del self._profiles[self._profile(user_id)]
            self._histories.forget(user_id)

    def check_profile(self, user_id: UserId) -> None:
        """Raise UnknownUser unless the user has a profile."""
        with self._lock.reading():
            self._profile(user_id)

    def described(self, user: KnownUser) -> dict[str, Any]:
        """Return a user as plain values; see `Retriever.user`."""
        live = self._profiles.get(user.key)
        if live is not None:
            features = {name: plain(live.record.get(name)) for name in sorted(self._raw.columns)}
        else:
            features = self._raw.of(user.row) if user.row else {}
        return {
            USER_ID: user.key,
            "known": user.row > 0,
            "live": live is not None,
            "features": features,
        }

    def checked(self, features: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the columns of a request, None = unknown. Raises InputError like `prepare`."""
        if isinstance(features, Mapping) and not features:
            return NOTHING
        (given,) = checked_features(self._table, [features], USER_ID)
        return {column: given.get(column) for column in features}

    def encoded(
        self, users: Sequence[KnownUser | None], features: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """Return encoded features by name, each [B, W]: of the request, else the profile, else the bundle.

        `features` are the columns of each request; a request without an id has no user.
        """
        rows = np.array([0 if user is None else user.row for user in users], dtype=np.int64)
        gathered = self._table.gather(torch.from_numpy(rows))
        profiles = [user and self._profiles.get(user.key) for user in users]
        given = [position for position, columns in enumerate(features) if columns]
        if not given and not any(profiles):
            return gathered
        found = {name: values.clone() for name, values in gathered.items()}  # they can be views
        for position, profile in enumerate(profiles):
            for name, values in profile.encoded.items() if profile else ():
                found[name][position] = values[0]
        encoded = self._encoded([features[position] for position in given]) if given else {}
        for number, position in enumerate(given):
            for name, column in self._columns.items():
                if column in features[position]:
                    found[name][position] = encoded[name][number]
        return found

    def _encoded(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        found = self._table.encode([dict(record) for record in records])
        return {name: found[name] for name in self._columns}

    def _profile(self, user_id: Any) -> UserId:
        """Return the id of a user with a profile. Raises UnknownUser."""
        key = as_id(user_id, self._histories.is_text)
        if key is None or key not in self._profiles:
            raise UnknownUser(f"user_id: user {user_id!r:.80} has no profile that could be removed")
        return key
