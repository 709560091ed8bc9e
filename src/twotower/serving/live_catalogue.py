"""The catalogue behind a retriever: items, their index and what has changed, always of one state.

Shapes: n rows, D embedding.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twotower.bundle.read import Bundle
from twotower.config.errors import InputError
from twotower.index.read_write_lock import ReadWriteLock
from twotower.serving.attributes import Attributes
from twotower.serving.drift import Drift, DriftCounter, catch_up, fresh_index
from twotower.serving.live_items import Floats, ItemId, LiveItems, Rows, as_label
from twotower.serving.requests import check_values, checked_id, known_rows, named_features
from twotower.serving.towers import are_valid, embed_items

ITEM_ID = "item_id"


@dataclass(frozen=True, eq=False)
class PreparedItem:
    """An item that was checked and embedded but is not offered yet: raw values by column, embedding [D]."""

    item_id: ItemId
    record: Mapping[str, Any]
    embedding: Floats


class LiveCatalogue:
    """Items and their index; a caller that reads several values of one state holds `lock`."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._label = bundle.item_label
        self._layout = bundle.model.layout
        labels = None if self._label is None else bundle.item_table[self._label]
        embeddings = bundle.item_embeddings
        self.items = LiveItems(bundle.items, labels, embeddings, self._layout.tower_width)
        table = bundle.item_table.drop(columns=ITEM_ID)
        self.attributes = Attributes(table, bundle.model.items, self._label, self.items.records)
        self.index = bundle.index
        self.lock = ReadWriteLock()
        self._drift = DriftCounter(embeddings, len(embeddings))
        self._rebuilding = threading.Lock()

    def prepare(self, puts: Sequence[tuple[ItemId, Mapping[str, Any]]]) -> list[PreparedItem]:
        """Check items and embed them in one pass, and change nothing.

        An item that the bundle knows keeps its own embedded id and bias; another gets those of unknown ones.
        Raises InputError: an id is of another kind, a feature is unknown, or tower or index refuse a value.
        """
        table = self._bundle.model.items
        keys = [
            checked_id(each, self.items.is_text, "item_id", "item ids of this catalogue") for each, _ in puts
        ]
        given = [named_features(table, each, ITEM_ID, self.attributes.columns) for _, each in puts]
        check_values(table, given)
        for each in given:
            self.attributes.check(each)
        encoded = table.encode([{**each, ITEM_ID: key} for each, key in zip(given, keys, strict=True)])
        vectors = embed_items(self._bundle.model, encoded)
        rows = self._bundle.items.rows(keys)
        known, vectors = rows > 0, vectors.copy()
        before = self._bundle.item_embeddings[rows[known] - 1]
        vectors[known] = self._layout.copy_biases(vectors[known], before)
        for key, fits in zip(keys, are_valid(vectors), strict=True):
            if not fits:
                raise InputError(
                    "features: the item tower makes no embedding with finite scores of item "
                    f"{key!r:.80}; give values of the size that the training data have"
                )
        self.index.check_range(vectors)
        return [PreparedItem(*each) for each in zip(keys, given, vectors, strict=True)]

    def put(self, items: Sequence[PreparedItem]) -> list[bool]:
        """Offer items with different ids, each in place of what has its id; True if nothing had.

        The lock is held for writing. The index takes all at once, first: if it refuses, nothing has changed.
        """
        rows = self.items.rows([item.item_id for item in items])
        offered = self.items.live(rows)
        changed = [
            position
            for position, item in enumerate(items)
            if not (offered[position] and self.attributes.is_latest(int(rows[position]), item.record))
        ]
        if changed:
            new = self.items.num_rows + 1 + np.arange(len(changed), dtype=np.int64)
            self.index.add(np.stack([items[position].embedding for position in changed]), new)
            self.take_out(rows[changed][offered[changed]])
            for item in (items[position] for position in changed):
                label = None if self._label is None else as_label(item.record.get(self._label))
                self.items.add(item.item_id, item.embedding, label, item.record)
                self._drift.added(item.embedding)
        return [not was for was in offered]

    def take_out(self, rows: Rows) -> None:
        """Stop offering the items of rows that are offered, [n]. The lock is held for writing."""
        self.index.remove(rows)
        for row, vector in zip(rows.tolist(), self.items.embeddings(rows), strict=True):
            self.items.remove(row)
            self._drift.removed(row, vector)

    def described(self, item_id: ItemId) -> dict[str, Any]:
        """Return what is known of an item; see `Retriever.item`. The lock is held for reading."""
        rows = known_rows(self.items, [item_id], "item_id", live=False)
        row = int(rows[0])
        return {
            ITEM_ID: self.items.id_of(row),
            "label": self.items.label_of(row),
            "offered": bool(self.items.live(rows)[0]),
            "live": row > self.items.num_known,
            "features": self.attributes.of(row),
        }

    def drift(self) -> Drift:
        """Return how far the catalogue has moved since its index was built."""
        with self.lock.reading():
            return self._drift.drift(self.index.num_tombstones)

    def rebuild(self) -> None:
        """Rebuild the index from the offered items; searches and changes continue meanwhile."""
        entry = self._bundle.manifest.index
        with self._rebuilding:
            with self.lock.reading():
                rows, num_rows = self.items.live_rows(), self.items.num_rows
                vectors = self.items.embeddings(rows)
            if not len(rows):
                return
            fresh = fresh_index(entry.spec, entry.search_args, vectors, rows)
            counter = DriftCounter(vectors, num_rows)
            with self.lock.writing():
                catch_up(fresh, counter, self.items, rows, num_rows)
                self.index, self._drift = fresh, counter
