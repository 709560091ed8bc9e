"""Users, items and recommendations as JSON values for the page.

Ids are text, because JavaScript rounds integers beyond 2**53.

Shapes: n items, m others, D the tower's part of an embedding.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from twotower.serving.browser_views import CatalogueMap, facets
from twotower.serving.live_items import Floats, ItemId, Recommendation, Rows, UserId
from twotower.serving.requests import Request, known_rows
from twotower.serving.retriever import Retriever

MAX_HISTORY = 100
"""Latest interactions of a user that are shown, and that recommended items are compared with."""
NUM_NEAREST = 2
MAX_POINTS, MAP_SEED = 5000, 0


class Browser:
    """A view of one retriever; thread-safe."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self._bundle, self._histories = retriever.bundle, retriever.users
        self._items, self._lock = retriever.catalogue.items, retriever.catalogue.lock

    @cached_property
    def item_facets(self) -> list[dict[str, Any]]:
        """Columns that filters can name; see `facets`."""
        bundle = self._bundle
        return facets(bundle.item_table, bundle.model.items, self.retriever.attributes, bundle.item_label)

    @cached_property
    def user_facets(self) -> list[dict[str, Any]]:
        """Columns that describe a user without id; see `facets`."""
        with self._lock.reading():
            kinds = self.retriever.profiles.kinds
        return facets(self._bundle.user_table, self._bundle.model.users, kinds)

    @property
    def num_users(self) -> int:
        """Number of users of the bundle and of users with events or profiles only."""
        with self._lock.reading():
            return len(self._bundle.users) + len(self._histories.new_ids)

    def users(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return users whose id begins with a text: users that the bundle does not have first."""
        with self._lock.reading():
            new = [each for each in self._histories.new_ids if str(each).startswith(query)]
            positions = np.flatnonzero(self._user_texts.str.startswith(query))[:limit]
            ids = [*new, *self._bundle.users.values[positions].tolist()]
            return [self._user_entry(each) for each in ids[:limit]]

    @cached_property
    def _user_texts(self) -> pd.Series:
        return pd.Series(self._bundle.users.values.astype(np.str_), dtype="str")

    def random_user(self) -> list[dict[str, Any]]:
        """Return a random user with a history in the bundle; an empty list if there is none."""
        rows = np.flatnonzero(self._bundle.history.counts())
        if not len(rows):
            return []
        user_id = self._bundle.users.ids([int(np.random.default_rng().choice(rows))])[0].item()
        with self._lock.reading():
            return [self._user_entry(user_id)]

    def _user_entry(self, user_id: UserId) -> dict[str, Any]:
        history = self._histories.interactions(self._histories.find(user_id))
        return {"user_id": str(user_id), "num_history": len(history.rows)}

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return features and history of a user, latest interaction first. Raises UnknownUser."""
        bundle, last_position = self._bundle, -1
        if not bundle.manifest.has_times:  # the times of the bundle's histories are positions in the log
            last_position = int(bundle.history.times.max(initial=0))
        with self._lock.reading():
            user = self._histories.find(user_id)
            history = self._histories.interactions(user)
            latest = history[-MAX_HISTORY:]
            rows, times = self._items.latest(latest.rows).tolist(), latest.times.tolist()
            entries = [
                {**self._item_entry(row), "time": time if time > last_position else None}
                for row, time in zip(rows, times, strict=True)
            ]
            features = self.retriever.profiles.described(user)["features"]
        return {
            "user_id": str(user.key),
            "known": user.row > 0,
            "features": {name: value for name, value in features.items() if value is not None},
            "num_history": len(history.rows),
            "history": entries[::-1],
        }

    def _item_entry(self, row: int) -> dict[str, Any]:
        return {"item_id": str(self._items.id_of(row)), "label": self._items.label_of(row)}

    def items(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return offered items whose id begins with a text or whose label contains it, ignoring case.

        Added items come first, the latest first; then matches by id, then by label.
        """
        text = query.lower()
        with self._lock.reading():
            entries = [self._item_entry(row) for row in self._added_rows()[::-1].tolist()]
            matches = [
                each
                for each in entries
                if each["item_id"].lower().startswith(text) or text in (each["label"] or "").lower()
            ]
            ids, labels = self._item_texts
            by_id, by_label = ids.str.startswith(text), labels.str.contains(text, regex=False)
            rows = np.concatenate([np.flatnonzero(by_id), np.flatnonzero(by_label & ~by_id)]) + 1
            matches += map(self._item_entry, rows[self._items.live(rows)][:limit].tolist())
        return matches[:limit]

    def _added_rows(self) -> Rows:
        offered = self._items.live_rows()
        return offered[offered > self._items.num_known]

    @cached_property
    def _item_texts(self) -> tuple[pd.Series, pd.Series]:
        label = self._bundle.item_label
        ids = pd.Series(self._bundle.items.values.astype(np.str_), dtype="str")
        labels = self._bundle.item_table[label].astype("str") if label else ids
        return ids.str.lower(), labels.fillna("").str.lower().reset_index(drop=True)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return label and raw values of an item, and whether it is offered. Raises UnknownItem."""
        with self._lock.reading():
            item = self.retriever.catalogue.described(item_id)
            names = self.retriever.catalogue.attributes.kinds
        values = {name: item["features"][name] for name in names}
        return {
            "item_id": str(item["item_id"]),
            "label": item["label"],
            "offered": item["offered"],
            "attributes": {name: value for name, value in values.items() if value not in (None, [])},
        }

    def similar(self, item_id: ItemId, k: int) -> list[dict[str, Any]]:
        """Return the most similar items; see `Retriever.similar`."""
        return [recommendation_entry(each) for each in self.retriever.similar(item_id, k)]

    def recommend(self, request: Request) -> list[dict[str, Any]]:
        """Return recommended items, each with its raw values and the nearest items of the user's history."""
        best = self.retriever.answer_one(request)
        ids = [each.item_id for each in best]
        with self._lock.reading():
            rows = known_rows(self._items, ids, "items", live=False)
            history = known_rows(self._items, request.history, "history", live=False)
            if request.user_id is not None:
                stored = self._histories.interactions(self._histories.find(request.user_id)).rows
                history = np.concatenate([stored, history])
            latest = self._items.latest(history[::-1][:MAX_HISTORY]).tolist()
            history = np.array(list(dict.fromkeys(latest)), dtype=np.int64)
            cosines = _unit(self._vectors(rows)) @ _unit(self._vectors(history)).T
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :NUM_NEAREST]
            nearest = [
                [{**self._item_entry(int(history[at])), "cosine": float(row[at])} for at in positions]
                for row, positions in zip(cosines, order, strict=True)
            ]
        attributes = [self.item(each)["attributes"] for each in ids]
        return [
            {**recommendation_entry(each), "attributes": values, "nearest": near}
            for each, values, near in zip(best, attributes, nearest, strict=True)
        ]

    @cached_property
    def _map(self) -> CatalogueMap:
        return CatalogueMap.fit(np.asarray(self._bundle.model.layout.tower(self._bundle.item_embeddings)))

    def map(self) -> dict[str, Any]:
        """Return the offered items in two dimensions, on the axes of the bundle's items.

        Of a large catalogue these are a fixed sample of the bundle's items and the latest added items.
        """
        num_items, plane = len(self._bundle.items), self._map
        sample = np.arange(num_items) + 1
        if num_items > MAX_POINTS:
            sample = np.sort(np.random.default_rng(MAP_SEED).choice(sample, MAX_POINTS, replace=False))
        with self._lock.reading():
            rows = np.concatenate([sample[self._items.live(sample)], self._added_rows()[-MAX_POINTS:]])
            places = plane.project(self._vectors(rows)).astype(np.float64).round(4).tolist()
            items = map(self._item_entry, rows.tolist())
            points = [{**item, "place": place} for item, place in zip(items, places, strict=True)]
            return {"num_items": self._items.num_live, "explained": plane.explained, "points": points}

    def map_positions(self, item_ids: Sequence[ItemId]) -> list[list[float]]:
        """Return the positions of items on the map, [n][2], also of removed items. Raises UnknownItem."""
        with self._lock.reading():
            vectors = self._vectors(known_rows(self._items, item_ids, "items", live=False))
        positions: list[list[float]] = self._map.project(vectors).tolist()
        return positions

    def _vectors(self, rows: Rows) -> Floats:
        """Return the tower's part [n, D] of embeddings; the bias has nothing to do with similarity."""
        return self._bundle.model.layout.tower(self._items.embeddings(rows))


def recommendation_entry(recommendation: Recommendation) -> dict[str, Any]:
    """Return a recommendation with its id as text."""
    return {**vars(recommendation), "item_id": str(recommendation.item_id)}


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(norms > 0, norms, 1), dtype=np.float32)
