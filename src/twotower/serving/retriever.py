"""The reader of a bundle: recommends, and takes items in and out while it does.

Shapes: L history positions, D embedding.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.bundle.bundle import Bundle
from twotower.bundle.read import read_bundle
from twotower.index.read_write_lock import ReadWriteLock
from twotower.serving.best_items import Best, best_items, most_alike
from twotower.serving.live_items import LiveItems, Rows, as_label
from twotower.serving.recommendation import ItemId, Recommendation, UserId
from twotower.serving.requests import (
    checked_features,
    checked_k,
    checked_new_id,
    checked_time,
    checked_times,
    known_rows,
    known_user,
    listed,
    right_aligned,
)

NO_FEATURES: Mapping[str, Any] = MappingProxyType({})
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)


class Retriever:
    """Answers from a bundle; safe from several threads.

    Requests take `allow` (choose only from these ids; an unknown one is an error), `deny` (never these;
    unknown ones are ignored) and `exclude_seen` (nothing the user already has). Whatever is left out, k items
    come back where k are left. Added and removed items live in this object, not in the bundle.

    Args:
        bundle: as read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._model = bundle.model
        self._index = bundle.index
        label = bundle.item_label
        labels = None if label is None else bundle.item_table[label]
        self._items = LiveItems(bundle.items, labels, bundle.item_vectors)
        self._lock = ReadWriteLock()

    @classmethod
    def open(cls, folder: Path | str) -> "Retriever":
        """Verify and read a bundle.

        Raises:
            InputError: names the file that is damaged, missing or not listed.
        """
        return cls(read_bundle(Path(folder)))

    @property
    def num_items(self) -> int:
        """Items that are offered."""
        return self._items.num_live

    @property
    def item_ids(self) -> list[ItemId]:
        """Ids of the items that are offered."""
        with self._lock.reading():
            return [self._items.id_of(row) for row in self._items.live_rows().tolist()]

    @property
    def user_ids(self) -> list[UserId]:
        """Ids of the users the bundle knows."""
        return list(self.bundle.users.values.tolist())

    def label(self, item_id: ItemId) -> str | None:
        """Return the name of an item for people, of a removed one too; None where the data have none.

        Raises:
            InputError: there never was such an item.
        """
        with self._lock.reading():
            return self._items.label_of(int(known_rows(self._items, [item_id], "label", live=False)[0]))

    def history(self, user_id: UserId) -> list[ItemId]:
        """Return what a known user already has, oldest first.

        Raises:
            InputError: the user is not known.
        """
        with self._lock.reading():
            rows = self._seen_by(known_user(self.bundle.users, user_id))
            return [self._items.id_of(row) for row in rows.tolist()]

    def recommend(
        self,
        user_id: UserId,
        k: int = 10,
        allow: Iterable[ItemId] | None = None,
        deny: Iterable[ItemId] = (),
        exclude_seen: bool = True,
        request_time: int | None = None,
    ) -> list[Recommendation]:
        """Recommend to a user of the bundle.

        Args:
            user_id: a known user.
            k: how many items; fewer come back only where fewer are left.
            allow: see the class.
            deny: see the class.
            exclude_seen: see the class.
            request_time: unix seconds; None = the end of the data the towers were trained for.

        Raises:
            InputError: an argument is wrong or names an item or user that is not known.
        """
        row = known_user(self.bundle.users, user_id)
        history = self.bundle.history
        rows, times = history.last(np.array([row]), self._model.history.length)
        now = checked_time(request_time, self.bundle.request_time)
        seen = self._seen_by(row) if exclude_seen else NO_ROWS
        with self._lock.reading(), torch.inference_mode():
            query = self._model.encode_users(
                torch.tensor([row]), torch.from_numpy(rows), torch.from_numpy(times), torch.tensor([now])
            )
            return self._answer(_plain(query), k, allow, deny, seen)

    def recommend_new(
        self,
        features: Mapping[str, Any] = NO_FEATURES,
        history: Sequence[ItemId] = (),
        k: int = 10,
        allow: Iterable[ItemId] | None = None,
        deny: Iterable[ItemId] = (),
        exclude_seen: bool = True,
        request_time: int | None = None,
        history_times: Sequence[int] | None = None,
    ) -> list[Recommendation]:
        """Recommend to a user the bundle does not know.

        Args:
            features: column of the user table -> raw value; those left out count as unknown.
            history: ids of the items the user has, oldest first; removed items may be among them.
            k: how many items; fewer come back only where fewer are left.
            allow: see the class.
            deny: see the class.
            exclude_seen: see the class.
            request_time: unix seconds; None = the end of the data the towers were trained for.
            history_times: unix seconds of each item of `history`; None = the request's time.

        Raises:
            InputError: an argument is wrong, or names a feature or item that is not known.
        """
        encoded = self._model.users.encode([checked_features(self._model.users, features, "user_id")])
        now = checked_time(request_time, self.bundle.request_time)
        with self._lock.reading(), torch.inference_mode():
            rows = known_rows(self._items, history, "history", live=False)
            times = checked_times(history_times, len(rows), now)
            length = self._model.history.length
            query = self._model.encode_user_features(
                encoded, right_aligned(rows, length), right_aligned(times, length), torch.tensor([now])
            )
            return self._answer(_plain(query), k, allow, deny, rows if exclude_seen else NO_ROWS)

    def similar(self, item_id: ItemId, k: int = 10) -> list[Recommendation]:
        """Return the items whose embeddings point the same way as an item's (cosine), without itself.

        Raises:
            InputError: the item is not offered.
        """
        with self._lock.reading():
            row = known_rows(self._items, [item_id], "similar", live=True)
            return self._listed(most_alike(self._items, row, checked_k(k), self._tower_part))

    def add_item(self, item_id: ItemId, features: Mapping[str, Any]) -> None:
        """Add an item from its features; it is found by every request made after this returns.

        The item tower embeds it with the unknown id. In later histories it counts where the history encoder
        reads item towers (`history.items: tower`); an encoder with a table of its own does not know it.

        Args:
            item_id: of the kind the catalogue's ids are.
            features: column of the item table -> raw value; those left out count as unknown.

        Raises:
            InputError: the id is offered already or of another kind, or a feature is not known.
        """
        model, label = self._model, self.bundle.item_label
        record = checked_features(model.items, features, "item_id", label)
        encoded = model.items.encode([record])
        with torch.inference_mode():
            vector = _plain(model.encode_item_features(encoded))
        with self._lock.writing():
            key = checked_new_id(self._items, item_id)
            row = self._items.num_rows + 1
            self._index.add(vector[None], np.array([row], dtype=np.int64))
            self._items.add(key, vector, as_label(record.get(label)) if label else None)
            if model.history.items == "tower":
                model.items.append(encoded)
                assert model.items.num_rows == row

    def remove_item(self, item_id: ItemId) -> None:
        """Stop offering an item: no request made after this returns gets it. It stays in histories.

        Raises:
            InputError: the item is not offered.
        """
        with self._lock.writing():
            rows = known_rows(self._items, [item_id], "remove_item", live=True)
            self._index.remove(rows)
            self._items.remove(int(rows[0]))

    def _seen_by(self, user_row: int) -> Rows:
        return self.bundle.history.flat(np.array([user_row]))[1].astype(np.int64)

    def _answer(
        self,
        query: NDArray[np.float32],
        k: int,
        allow: Iterable[ItemId] | None,
        deny: Iterable[ItemId],
        seen: Rows,
    ) -> list[Recommendation]:
        items = self._items
        allowed = None if allow is None else np.unique(known_rows(items, allow, "allow", live=True))
        excluded = np.unique(np.concatenate([items.latest(seen), items.rows(listed(deny, "deny"))]))
        excluded = excluded[items.live(excluded)]
        return self._listed(best_items(self._index, items, query, checked_k(k), excluded, allowed))

    def _tower_part(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._model.item_queries(torch.from_numpy(vectors)))

    def _listed(self, best: Best) -> list[Recommendation]:
        return [
            Recommendation(self._items.id_of(row), score, self._items.label_of(row))
            for row, score in zip(best[0].tolist(), best[1].tolist(), strict=True)
        ]


def _plain(embedding: Tensor) -> NDArray[np.float32]:
    """Return one embedding [1, D] as an array [D]."""
    vector: NDArray[np.float32] = embedding[0].float().numpy()
    return vector
