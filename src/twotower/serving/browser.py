"""What people look up: users, items, recommendations with their reasons, and what lies near what.

Ids come back as text, whatever they are: a browser rounds whole numbers beyond 2**53.

Shapes: n items, D the tower's part of an embedding.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from twotower.serving.browser_views import MOST_POINTS, CatalogueMap, drawn, facets_of, nearest, with_prefix
from twotower.serving.live_catalogue import ITEM_ID
from twotower.serving.live_items import Floats, ItemId, LiveItems, Recommendation, Rows, UserId
from twotower.serving.requests import Request, known_rows
from twotower.serving.retriever import Retriever

MOST_HISTORY = 100
"""The newest interactions of a user that are shown, and that recommended items are held against."""
NUM_NEAREST = 2


class Browser:
    """Looks things up in one version; safe from several threads."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self._bundle = retriever.bundle
        self._catalogue, self._histories = retriever.catalogue, retriever.users

    @cached_property
    def facets(self) -> list[dict[str, Any]]:
        """What filters can ask for; see `facets_of`."""
        bundle = self._bundle
        return facets_of(bundle.item_table, bundle.model.items, self.retriever.attributes, bundle.item_label)

    @cached_property
    def profile(self) -> list[dict[str, Any]]:
        """What can be said of a user whom nobody knows; see `facets_of`."""
        with self._catalogue.lock.reading():
            kinds = self.retriever.profiles.kinds
        return facets_of(self._bundle.user_table, self._bundle.model.users, kinds)

    @cached_property
    def _last_place(self) -> int:
        """The largest number that is no time, but a place in the order of a log without times."""
        return -1 if self._bundle.manifest.has_times else int(self._bundle.history.times.max(initial=0))

    @property
    def num_users(self) -> int:
        """Users whom the bundle, an event or a profile knows."""
        with self._catalogue.lock.reading():
            return len(self._bundle.users) + len(self._histories.new_ids)

    def users(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return users whose id begins with a text: those whom the bundle lacks, then the bundle's."""
        with self._catalogue.lock.reading():
            new = (key for key in self._histories.new_ids if str(key).startswith(query))
            found: list[UserId] = list(islice(new, limit))
            found += with_prefix(self._bundle.users, query, limit - len(found))
            return [self._counted(key) for key in found]

    def any_user(self) -> list[dict[str, Any]]:
        """Return a user drawn from those whom the bundle has a history of; nobody where there is none."""
        rows = np.flatnonzero(self._bundle.history.counts())
        if not len(rows):
            return []
        key = self._bundle.users.ids([int(np.random.default_rng().choice(rows))])[0].item()
        with self._catalogue.lock.reading():
            return [self._counted(key)]

    def _counted(self, user_id: UserId) -> dict[str, Any]:
        times, _ = self._histories.all(self._histories.find(user_id))
        return {"user_id": str(user_id), "num_history": len(times)}

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return what is known of a user, the newest interactions first; UnknownUser of nobody's id."""
        with self._catalogue.lock.reading():
            user = self._histories.find(user_id)
            times, rows = self._histories.all(user)
            newest = self._catalogue.items.latest(rows)[::-1][:MOST_HISTORY]
            history = [
                {**self._named(row), "time": time if time > self._last_place else None}
                for row, time in zip(newest.tolist(), times[::-1].tolist(), strict=False)
            ]
            features = self.retriever.profiles.described(user)["features"]
        return {
            "user_id": str(user.key),
            "known": user.row > 0,
            "features": {name: value for name, value in features.items() if value is not None},
            "num_history": len(rows),
            "history": history,
        }

    def _named(self, row: int) -> dict[str, Any]:
        items = self._catalogue.items
        return {"item_id": str(items.id_of(row)), "label": items.label_of(row)}

    def items(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return offered items whose id begins with a text or whose name holds it, whatever the case.

        Those put in last come first, then those of the bundle, where ids count before names.
        """
        text = query.lower()
        with self._catalogue.lock.reading():
            items = self._catalogue.items
            offered = items.live_rows()
            new = offered[offered > items.num_known][::-1]
            found = [row for row in new.tolist() if _says(items, row, text)]
            known = self._matching(text)
            found += known[items.live(known)][:limit].tolist()
            return [self._named(row) for row in found[:limit]]

    def _matching(self, text: str) -> Rows:
        ids, names = self._texts
        by_id = ids.str.startswith(text).to_numpy(dtype=np.bool_)
        by_name = names.str.contains(text, regex=False).to_numpy(dtype=np.bool_)
        return np.concatenate([np.flatnonzero(by_id), np.flatnonzero(by_name & ~by_id)]) + 1

    @cached_property
    def _texts(self) -> tuple[pd.Series, pd.Series]:
        label = self._bundle.item_label
        ids = pd.Series(self._bundle.items.values.astype(np.str_), dtype="str")
        names = self._bundle.item_table[label].astype("str") if label else ids
        return ids.str.lower(), names.fillna("").str.lower().reset_index(drop=True)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return an item's name and raw values, and whether it is offered; UnknownItem if it never was."""
        with self._catalogue.lock.reading():
            return self._described(item_id)

    def _described(self, item_id: ItemId) -> dict[str, Any]:
        known = self._catalogue.described(item_id)
        names, features = self._catalogue.attributes.kinds, known["features"]
        return {
            "item_id": str(known[ITEM_ID]),
            "label": known["label"],
            "offered": known["offered"],
            "attributes": {name: features[name] for name in names if features[name] not in (None, [])},
        }

    def similar(self, item_id: ItemId, k: int) -> list[dict[str, Any]]:
        """Return the items nearest to one by angle; see `Retriever.similar`."""
        return [as_shown(each) for each in self.retriever.similar(item_id, k)]

    def recommend(self, request: Request) -> list[dict[str, Any]]:
        """Return what a user is recommended and why, all of one version."""
        found = self.retriever.answer_one(request)
        reasons = self.why(request, [each.item_id for each in found])
        return [{**as_shown(each), **reason} for each, reason in zip(found, reasons, strict=True)]

    def why(self, request: Request, item_ids: Sequence[ItemId]) -> list[dict[str, Any]]:
        """Return each item's raw values and what is nearest to it of all that the user has.

        Raises InputError: an id is not known.
        """
        with self._catalogue.lock.reading():
            items = self._catalogue.items
            rows = known_rows(items, item_ids, "items", live=False)
            had = known_rows(items, request.history, "history", live=False)
            if request.user_id is not None:
                had = np.concatenate([self._histories.all(self._histories.find(request.user_id))[1], had])
            had = np.array(list(dict.fromkeys(items.latest(had[::-1][:MOST_HISTORY]).tolist())), np.int64)
            near = nearest(self._vectors(rows), self._vectors(had), NUM_NEAREST)
            return [
                {
                    "attributes": self._described(item_id)["attributes"],
                    "nearest": [{**self._named(int(had[at])), "cosine": cosine} for at, cosine in places],
                }
                for item_id, places in zip(item_ids, near, strict=True)
            ]

    @cached_property
    def _plane(self) -> CatalogueMap:
        return CatalogueMap.of(np.asarray(self._bundle.model.layout.tower(self._bundle.item_embeddings)))

    def map(self) -> dict[str, Any]:
        """Return the catalogue in two dimensions as it is now, on the axes of the bundle's items.

        Where there are many, the same sample of the bundle's items each time, and the newest of the others.
        """
        plane, sample = self._plane, drawn(len(self._bundle.items)) + 1
        with self._catalogue.lock.reading():
            items = self._catalogue.items
            offered = items.live_rows()
            new = offered[offered > items.num_known][-MOST_POINTS:]
            rows = np.concatenate([sample[items.live(sample)], new])
            places = plane.place(self._vectors(rows)).astype(np.float64).round(4).tolist()
            points = [
                {**self._named(row), "place": place} for row, place in zip(rows.tolist(), places, strict=True)
            ]
        return {"num_items": len(offered), "explained": plane.explained, "points": points}

    def map_positions(self, item_ids: Sequence[ItemId]) -> list[list[float]]:
        """Return where items lie on the map, [n][2], those put in since and removed too, or UnknownItem."""
        plane = self._plane
        with self._catalogue.lock.reading():
            vectors = self._vectors(known_rows(self._catalogue.items, item_ids, "items", live=False))
        found: list[list[float]] = plane.place(vectors).tolist()
        return found

    def _vectors(self, rows: Rows) -> Floats:
        """Return what the tower says; the bias is no likeness."""
        return self._bundle.model.layout.tower(self._catalogue.items.embeddings(rows))


def as_shown(recommendation: Recommendation) -> dict[str, Any]:
    """Return one item of a list as the page gets it."""
    return {
        "item_id": str(recommendation.item_id),
        "label": recommendation.label,
        "score": recommendation.score,
    }


def _says(items: LiveItems, row: int, text: str) -> bool:
    return str(items.id_of(row)).lower().startswith(text) or text in (items.label_of(row) or "").lower()
