"""What people look up beside recommendations: users, items, and what lies near what.

Shapes: N items, n and m of them, D the tower's part of an embedding.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twotower.serving.attributes import plain
from twotower.serving.catalogue_map import CatalogueMap, drawn
from twotower.serving.facets import facets_of
from twotower.serving.id_prefix import with_prefix
from twotower.serving.live_items import LiveItems, Rows
from twotower.serving.recommendation import ItemId, UserId
from twotower.serving.requests import known_rows
from twotower.serving.retriever import Retriever

MOST_HISTORY = 100
"""The newest interactions of a user that are shown, and that recommended items are held against."""
NUM_NEAREST = 2

Floats = NDArray[np.float32]


class Browser:
    """Looks things up in one version; safe from several threads.

    Args:
        retriever: of the version.
    """

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever
        self._bundle = retriever.bundle
        self._catalogue, self._histories = retriever.catalogue, retriever.users

    def users(self, query: str, limit: int) -> list[dict[str, Any]]:
        """Return users whose id begins with a text: those whom only events know, then the bundle's."""
        with self._catalogue.lock.reading():
            new = self._histories.ids[len(self._bundle.users) :]
            found: list[UserId] = [key for key in new if str(key).startswith(query)][:limit]
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
        return {"user_id": user_id, "num_history": len(times)}

    def user(self, user_id: UserId) -> dict[str, Any]:
        """Return what is known of a user, the newest interactions first.

        Raises:
            UnknownUser: nobody has this id.
        """
        with self._catalogue.lock.reading():
            user = self._histories.find(user_id)
            times, rows = self._histories.all(user)
            newest = self._catalogue.items.latest(rows)[::-1][:MOST_HISTORY]
            history = [
                {**self._named(row), "time": time}
                for row, time in zip(newest.tolist(), times[::-1].tolist(), strict=False)
            ]
        return {
            "user_id": user.key,
            "known": user.row > 0,
            "features": self._features(user.row),
            "num_history": len(rows),
            "history": history,
        }

    def _features(self, user_row: int) -> dict[str, Any]:
        table = self._bundle.user_table
        if not user_row:
            return {}
        values = {str(name): plain(table[name].iat[user_row - 1]) for name in table if name != "user_id"}
        return {name: value for name, value in values.items() if value is not None}

    def _named(self, row: int) -> dict[str, Any]:
        items = self._catalogue.items
        return {"item_id": items.id_of(row), "label": items.label_of(row)}

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
        """Ids and names of the bundle's items in small letters."""
        label = self._bundle.item_label
        ids = pd.Series(self._bundle.items.values.astype(np.str_), dtype="str")
        names = self._bundle.item_table[label].astype("str") if label else ids
        return ids.str.lower(), names.fillna("").str.lower().reset_index(drop=True)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return an item's name and raw values, and whether it is offered.

        Raises:
            UnknownItem: there never was such an item.
        """
        with self._catalogue.lock.reading():
            rows = known_rows(self._catalogue.items, [item_id], "item", live=False)
            offered = bool(self._catalogue.items.live(rows)[0])
            row = int(rows[0])
            return {**self._named(row), "offered": offered, "attributes": self._attributes(row)}

    def _attributes(self, row: int) -> dict[str, Any]:
        attributes = self._catalogue.attributes
        raw = attributes.of(row)
        return {name: raw[name] for name in attributes.kinds if raw[name] not in (None, [])}

    @cached_property
    def facets(self) -> list[dict[str, Any]]:
        """The columns that `where` takes; see `facets_of`."""
        return facets_of(self._bundle, self.retriever.attributes)

    def why(self, user_id: UserId, item_ids: Sequence[ItemId]) -> list[dict[str, Any]]:
        """Return for each item its raw values and what lies nearest in the user's history, by cosine.

        Raises:
            InputError: nobody has this user's id, or there never was such an item.
        """
        with self._catalogue.lock.reading():
            items = self._catalogue.items
            rows = known_rows(items, item_ids, "items", live=False)
            _, had = self._histories.all(self._histories.find(user_id))
            had = np.array(list(dict.fromkeys(items.latest(had[::-1][:MOST_HISTORY]).tolist())), np.int64)
            near = nearest(self._vectors(rows), self._vectors(had), NUM_NEAREST)
            return [
                {
                    "item_id": items.id_of(row),
                    "attributes": self._attributes(row),
                    "nearest": [{**self._named(int(had[at])), "cosine": cosine} for at, cosine in places],
                }
                for row, places in zip(rows.tolist(), near, strict=True)
            ]

    @cached_property
    def map(self) -> dict[str, Any]:
        """The catalogue in two dimensions, as it is when first asked for; a sample where there are many."""
        plane = self._plane
        with self._catalogue.lock.reading():
            offered = self._catalogue.items.live_rows()
            rows = offered[drawn(len(offered))]
            places = plane.place(self._vectors(rows)).astype(np.float64).round(4).tolist()
            points = [
                {**self._named(row), "place": place} for row, place in zip(rows.tolist(), places, strict=True)
            ]
        return {"num_items": len(offered), "explained": plane.explained, "points": points}

    def places(self, item_ids: Sequence[ItemId]) -> list[list[float]]:
        """Return where items lie on the map, those put in since and removed too; [n][2].

        Raises:
            UnknownItem: there never was such an item.
        """
        plane = self._plane
        with self._catalogue.lock.reading():
            vectors = self._vectors(known_rows(self._catalogue.items, item_ids, "items", live=False))
        found: list[list[float]] = plane.place(vectors).tolist()
        return found

    @cached_property
    def _plane(self) -> CatalogueMap:
        return CatalogueMap.of(np.asarray(self._bundle.item_vectors[:, : self._width]))

    @property
    def _width(self) -> int:
        """Columns of an embedding that are the tower's; what follows is the bias, which is no likeness."""
        return int(self._bundle.item_vectors.shape[1]) - self._bundle.model.item_bias.width

    def _vectors(self, rows: Rows) -> Floats:
        return self._catalogue.items.vectors(rows)[:, : self._width]


def nearest(vectors: Floats, others: Floats, k: int) -> list[list[tuple[int, float]]]:
    """Return for each vector [n, D] the k of others [m, D] with the highest cosine: position and cosine."""
    cosines = _unit(vectors) @ _unit(others).T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return [[(int(at), float(row[at])) for at in places] for row, places in zip(cosines, order, strict=True)]


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _says(items: LiveItems, row: int, text: str) -> bool:
    return str(items.id_of(row)).lower().startswith(text) or text in (items.label_of(row) or "").lower()
