"""Users, items and recommendations as JSON values for the page.

Ids are text, because JavaScript rounds integers beyond 2**53.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from twotower.bundle.embed import Rows
from twotower.serving.live_items import ItemId, Recommendation, UserId
from twotower.serving.requests import Request, known_rows
from twotower.serving.retriever import Retriever

MAX_HISTORY = 100
"""Latest interactions of a user that are shown, and that recommended items are compared with."""
NUM_NEAREST = 2


class Browser:
    """A view of one retriever; thread-safe."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self._bundle, self._histories = retriever.bundle, retriever.users
        self._items, self._lock = retriever.catalogue.items, retriever.catalogue.lock

    def facets(self) -> dict[str, Any]:
        """Return the columns that filters can name, those that describe a user, and the numbers of both."""
        with self._lock.reading():
            return {
                "columns": self.retriever.catalogue.attributes.facets(),
                "profile": self.retriever.profiles.facets(),
                "num_items": self._items.num_live,
                "num_users": len(self._bundle.users) + len(self._histories.new_ids),
            }

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
        return {"user_id": str(user_id), "num_history": len(history)}

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return features and history of a user, latest interaction first. Raises UnknownUser."""
        bundle, last_position = self._bundle, -1
        if not bundle.manifest.has_times:  # the times of the bundle's histories are positions in the log
            last_position = int(bundle.history.times.max(initial=0))
        with self._lock.reading():
            user = self._histories.find(user_id)
            history = self._histories.interactions(user)
            latest = history[-MAX_HISTORY:]
            entries = [
                {**self._item_entry(row), "time": time if time > last_position else None}
                for row, time in zip(
                    self._items.latest(latest["row"]).tolist(), latest["time"].tolist(), strict=True
                )
            ]
            features = self.retriever.profiles.described(user)["features"]
        return {
            "user_id": str(user.key),
            "known": user.row > 0,
            "features": {name: value for name, value in features.items() if value is not None},
            "num_history": len(history),
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
            offered = self._items.live_rows()
            added = offered[offered > self._items.num_known]
            matches = [
                entry
                for entry in map(self._item_entry, added[::-1].tolist())
                if entry["item_id"].lower().startswith(text) or text in (entry["label"] or "").lower()
            ]
            ids, labels = self._item_texts
            by_id, by_label = ids.str.startswith(text), labels.str.contains(text, regex=False)
            rows = np.concatenate([np.flatnonzero(by_id), np.flatnonzero(by_label & ~by_id)]) + 1
            matches += map(self._item_entry, rows[self._items.live(rows)][:limit].tolist())
        return matches[:limit]

    @cached_property
    def _item_texts(self) -> tuple[pd.Series, pd.Series]:
        label = self._bundle.manifest.item_label
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

    def recommend(self, request: Request) -> list[dict[str, Any]]:
        """Return recommended items, each with its raw values and the nearest items of the user's history."""
        best = self.retriever.answer_one(request)
        with self._lock.reading():
            rows = known_rows(self._items, [each.item_id for each in best], "items", live=False)
            history = known_rows(self._items, request.history, "history", live=False)
            if request.user_id is not None:
                stored = self._histories.interactions(self._histories.find(request.user_id))["row"]
                history = np.concatenate([stored, history])
            latest = self._items.latest(history[::-1][:MAX_HISTORY]).tolist()
            nearest = self._nearest(rows, np.array(list(dict.fromkeys(latest)), dtype=np.int64))
        return [
            {**entry, "attributes": self.item(each.item_id)["attributes"], "nearest": near}
            for each, entry, near in zip(best, recommendation_entries(best), nearest, strict=True)
        ]

    def _nearest(self, rows: Rows, history: Rows) -> list[list[dict[str, Any]]]:
        """Return for each row the items of a history with the highest cosines."""
        cosines = self._items.directions(rows) @ self._items.directions(history).T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :NUM_NEAREST]
        return [
            [{**self._item_entry(int(history[at])), "cosine": float(row[at])} for at in positions]
            for row, positions in zip(cosines, order, strict=True)
        ]


def recommendation_entries(best: Iterable[Recommendation]) -> list[dict[str, Any]]:
    """Return recommendations with their ids as text."""
    return [{**vars(each), "item_id": str(each.item_id)} for each in best]
