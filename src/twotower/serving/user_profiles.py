"""Who asks: what the bundle knows of a user, the profile that was put in since, and what the request says.

Shapes: B users asked for, L history positions, W width of a feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.data.tables import USER_ID
from twotower.features.time_feature import TimeFeature
from twotower.index.read_write_lock import ReadWriteLock
from twotower.serving.attributes import Attributes, plain
from twotower.serving.live_items import UserId
from twotower.serving.requests import NOTHING, UnknownUser, check_values, named_features
from twotower.serving.towers import are_valid, embed_users
from twotower.serving.user_histories import KnownUser, UserHistories, UserHistory


@dataclass(frozen=True, eq=False)
class PreparedUser:
    """A profile checked and encoded, not in force yet: raw values by column, encoded ones, each [1, W]."""

    user_id: UserId
    record: Mapping[str, Any]
    encoded: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class UserContext:
    """Who asks (None: nobody whom an id names), and the columns that the request gives; None is a gap."""

    user: KnownUser | None
    given: Mapping[str, Any]


class UserProfiles:
    """Profiles by user: one that was put in takes the place of the bundle's row, but for the id.

    `put` and `forget` take `lock` for writing, and `check_there` for reading; whoever calls the others holds
    it for reading, but `prepare` needs none.
    """

    def __init__(self, bundle: Bundle, histories: UserHistories, lock: ReadWriteLock) -> None:
        self._model, self._table = bundle.model, bundle.model.users
        self._histories, self._lock = histories, lock
        self._request_time = bundle.request_time
        self._raw = Attributes(bundle.user_table.drop(columns=USER_ID), self._table, None)
        # A feature of the id itself stays the user's, whatever is said of the user.
        self._columns = {
            name: feature.column
            for name, feature in self._table.features.items()
            if not isinstance(feature, TimeFeature) and feature.column != USER_ID
        }
        self._profiles: dict[UserId, PreparedUser] = {}

    @property
    def kinds(self) -> dict[str, str]:
        """The columns that a request may say of a user, and what they hold; see `Attributes.kinds`."""
        read = set(self._columns.values())
        return {name: kind for name, kind in self._raw.kinds.items() if name in read}

    def prepare(self, puts: Sequence[tuple[UserId, Mapping[str, Any]]]) -> list[PreparedUser]:
        """Check and encode profiles in one pass, and change nothing.

        Columns that the bundle's users have may be given though no feature reads them. Raises InputError: an
        id is of another kind, a column is unknown, or a value is none that training would take.
        """
        keys = [self._histories.checked(user_id) for user_id, _ in puts]
        records = [named_features(self._table, each, USER_ID, self._raw.columns) for _, each in puts]
        check_values(self._table, records)
        for record in records:
            self._raw.check(record)
        encoded = self._encoded(records)
        self._check_sound(keys, encoded)
        return [
            PreparedUser(key, record, {name: values[place : place + 1] for name, values in encoded.items()})
            for place, (key, record) in enumerate(zip(keys, records, strict=True))
        ]

    def put(self, users: Sequence[PreparedUser]) -> list[bool]:
        """Let profiles of different users be in force from the next request on; True of one that had none."""
        with self._lock.writing():
            new = [user.user_id not in self._profiles for user in users]
            for user in users:
                self._profiles[user.user_id] = user
                self._histories.know(user.user_id)
            return new

    def forget(self, user_id: UserId) -> None:
        """Let the bundle's row count again. Raises UnknownUser: no profile of this user was put in."""
        with self._lock.writing():
            del self._profiles[self._there(user_id)]
            self._histories.forget(user_id)

    def check_there(self, user_id: UserId) -> None:
        """Raise UnknownUser unless a profile of this user was put in."""
        with self._lock.reading():
            self._there(user_id)

    def described(self, user: KnownUser) -> dict[str, Any]:
        """Return what is known of a user; see `Retriever.user`."""
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

    def user_context(self, user: KnownUser | None, features: Mapping[str, Any]) -> UserContext:
        """Return who asks, with what the request says of the user. Raises InputError as `prepare` does."""
        if isinstance(features, Mapping) and not features:
            return UserContext(user, NOTHING)
        given = named_features(self._table, features, USER_ID)
        check_values(self._table, [given])
        return UserContext(user, {column: given.get(column) for column in features})

    def encoded(self, user_contexts: Sequence[UserContext]) -> dict[str, Tensor]:
        """Return encoded features by name, each [B, W], for `embed_users`.

        What the request gives goes before what was put in, and that before the bundle's row.
        """
        rows = np.array([0 if each.user is None else each.user.row for each in user_contexts], dtype=np.int64)
        features = self._table.gather(torch.from_numpy(rows))
        over: dict[str, dict[int, Tensor]] = {name: {} for name in self._columns}
        for place, each in enumerate(user_contexts):
            live = None if each.user is None else self._profiles.get(each.user.key)
            if live is not None:
                for name, values in live.encoded.items():
                    over[name][place] = values
        giving = [place for place, each in enumerate(user_contexts) if each.given]
        encoded = self._encoded([user_contexts[place].given for place in giving]) if giving else {}
        for number, place in enumerate(giving):
            for name, column in self._columns.items():
                if column in user_contexts[place].given:
                    over[name][place] = encoded[name][number : number + 1]
        return {name: _laid_over(values, over.get(name, {})) for name, values in features.items()}

    def _encoded(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        found = self._table.encode([dict(record) for record in records])
        return {name: found[name] for name in self._columns}

    def _check_sound(self, keys: Sequence[UserId], encoded: Mapping[str, Tensor]) -> None:
        history = self._histories.inputs([UserHistory.of()] * len(keys))
        unknown = self._table.gather(torch.zeros(len(keys), dtype=torch.int64))
        now = np.full(len(keys), self._request_time, dtype=np.int64)
        embeddings = embed_users(self._model, {**unknown, **encoded}, history, now)
        for key, fits in zip(keys, are_valid(embeddings), strict=True):
            if not fits:
                raise InputError(
                    f"features: the user tower makes no embedding with finite scores of user {key!r:.80}; "
                    "give values of the size that the training data have"
                )

    def _there(self, user_id: Any) -> UserId:
        try:
            key = self._histories.checked(user_id)
        except InputError as error:
            raise UnknownUser(str(error)) from error
        if key not in self._profiles:
            raise UnknownUser(
                f"user_id: no profile of user {user_id!r:.80} was put in, so there is none to forget"
            )
        return key


def _laid_over(values: Tensor, rows: Mapping[int, Tensor]) -> Tensor:
    if not rows:
        return values
    return values.index_copy(0, torch.tensor(list(rows)), torch.cat(list(rows.values())).to(values.dtype))
