"""The catalogue behind a retriever: items, their index and their changes, always of one state.

Shapes: n rows, N vectors, D embedding.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from twotower.bundle.embed import Floats, Rows, check_embeddings, checked_features, embed_items
from twotower.bundle.read import Bundle
from twotower.bundle.vectors import user_vectors
from twotower.data.tables import ITEM_ID
from twotower.index.ground_truth import RECALL_K, GroundTruth, evenly_spaced
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf import IVF
from twotower.index.read_write_lock import ReadWriteLock
from twotower.index.tune import has_fixed_search, tune
from twotower.serving.attributes import Attributes
from twotower.serving.live_items import ItemId, LiveItems, as_label, rows_of
from twotower.serving.requests import checked_id, known_rows
from twotower.serving.top_items import SCAN_ROWS

MIN_CHANGES = 100
"""Fewer added and removed items never need a rebuild."""
MAX_CHANGED_SHARE = 0.2
NUM_QUERIES = 500
"""Users of the bundle that choose the search argument of a new index."""
NUM_KEPT = 16
"""Conditions whose items are cached, the latest."""


@dataclass(frozen=True)
class Drift:
    """Changes of the catalogue since its index was built.

    Attributes:
        live_share: share of the offered items that were added since.
        removed_share: share of the indexed items that were removed or changed since, or share of removed
            vectors that the index still stores if that is larger.
        needs_rebuild: whether there are at least 100 changes, an offered item, and a share above 0.2.
    """

    live_share: float
    removed_share: float
    needs_rebuild: bool


@dataclass(frozen=True, eq=False)
class PreparedItem:
    """An item that was checked and embedded but is not offered yet: raw values by column, embedding [D]."""

    item_id: ItemId
    record: Mapping[str, Any]
    embedding: Floats


Matches = tuple[Rows, Floats | None]
"""Offered rows that meet conditions, int64 [n] ascending, and their embeddings [n, D] if they are few."""


class LiveCatalogue:
    """Items and their index; a caller that reads several values of one state holds `lock`."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._label = bundle.manifest.item_label
        labels = None if self._label is None else bundle.item_table[self._label]
        self.items = LiveItems(bundle.items, labels, bundle.item_embeddings, bundle.model.layout.tower_width)
        table = bundle.item_table.drop(columns=ITEM_ID)
        self.attributes = Attributes(table, bundle.model.items, self._label, self.items.records)
        self._find_cached = lru_cache(NUM_KEPT)(lambda text, *_: self._find(json.loads(text)))
        self.index = bundle.index
        self.lock = ReadWriteLock()
        self._rebuilding = threading.Lock()
        self._num_built = self._last_built = self.items.num_known  # indexed rows, and the highest of them

    def prepare(self, puts: Sequence[tuple[ItemId, Mapping[str, Any]]]) -> list[PreparedItem]:
        """Check items and embed them in one pass, and change nothing.

        An item of the bundle keeps its embedded id and bias; a new item gets the unknown item's.
        Raises InputError: an id has another type, a feature is unknown, or tower or index refuse a value.
        """
        model = self._bundle.model
        keys = [
            checked_id(each, self.items.is_text, "item_id", "item ids of this catalogue") for each, _ in puts
        ]
        given = checked_features(model.items, [each for _, each in puts], ITEM_ID, self.attributes.columns)
        for each in given:
            self.attributes.check(each)
        encoded = model.items.encode([{**each, ITEM_ID: key} for each, key in zip(given, keys, strict=True)])
        vectors = embed_items(model, encoded).copy()
        rows = rows_of(self._bundle.items, keys)
        known = rows > 0
        before = self._bundle.item_embeddings[rows[known] - 1]
        vectors[known] = model.layout.copy_biases(vectors[known], before)
        check_embeddings(vectors, "item", keys)
        self.index.check_range(vectors)
        return [PreparedItem(*each) for each in zip(keys, given, vectors, strict=True)]

    def put(self, items: Sequence[PreparedItem]) -> list[bool]:
        """Offer items with different ids, each in place of the item with its id; True if there was none.

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
        return [not was for was in offered]

    def take_out(self, rows: Rows) -> None:
        """Stop offering the items of rows that are offered, [n]. The lock is held for writing."""
        self.index.remove(rows)
        for row in rows.tolist():
            self.items.remove(row)

    def find_matches(self, where: Mapping[str, Any]) -> Matches:
        """Return the items that meet conditions, see `Request.where`. The lock is held for reading.

        Raises InputError: a condition is invalid.
        """
        try:
            text = json.dumps(where)
        except (TypeError, ValueError):  # values of other types, such as NumPy scalars
            return self._find(where)
        # The first number grows with each added item, the second falls with each removed item.
        return self._find_cached(text, self.items.num_rows, self.items.num_live)

    def _find(self, where: Mapping[str, Any]) -> Matches:
        meets = self.attributes.matches(where, self.items.num_rows) & self.items.live_mask()
        rows = np.flatnonzero(meets) + 1
        return rows, self.items.embeddings(rows) if len(rows) <= SCAN_ROWS else None

    def described(self, item_id: ItemId) -> dict[str, Any]:
        """Return an item as plain values; see `Retriever.item`. The lock is held for reading."""
        row = int(known_rows(self.items, [item_id], "item_id", live=False)[0])
        return {
            ITEM_ID: self.items.id_of(row),
            "label": self.items.label_of(row),
            "offered": bool(self.items.live_mask()[row - 1]),
            "live": row > self.items.num_known,
            "features": self.attributes.of(row),
        }

    def drift(self) -> Drift:
        """Return how much the catalogue has changed since its index was built."""
        with self.lock.reading():
            num_live, num_tombstones = self.items.num_live, self.index.num_tombstones
            num_kept = int(np.count_nonzero(self.items.live_mask()[: self._last_built]))
            num_added, num_removed = num_live - num_kept, self._num_built - num_kept
        live = num_added / max(1, num_live)
        removed = max(
            num_removed / max(1, self._num_built), num_tombstones / max(1, num_tombstones + num_live)
        )
        num_changes = num_added + max(num_removed, num_tombstones)
        is_changed = max(live, removed) > MAX_CHANGED_SHARE and num_changes >= MIN_CHANGES
        return Drift(live, removed, is_changed and num_live > 0)

    def rebuild(self) -> None:
        """Make a new index of the offered items; searches and changes continue meanwhile.

        Clusters are balanced, and no codes are trained. An index without clusters is built again. Users of
        the bundle then choose its search argument.
        """
        entry = self._bundle.manifest.index
        with self._rebuilding:
            with self.lock.reading():
                index, rows, last = self.index, self.items.live_rows(), self.items.num_rows
                vectors = self.items.embeddings(rows)
            if not len(rows):
                return
            fresh = fresh_index(entry.spec, entry.search_args, vectors, rows, index)
            if not has_fixed_search(fresh) and len(self._embedded_users):
                tune(fresh, GroundTruth.search(vectors, rows, self._embedded_users, RECALL_K))
            with self.lock.writing():
                fresh.remove(rows[~self.items.live(rows)])
                new = np.flatnonzero(self.items.live_mask()[last:]).astype(np.int64) + last + 1
                if len(new):
                    fresh.add(self.items.embeddings(new), new)
                self.index, self._num_built, self._last_built = fresh, len(rows), last

    @cached_property
    def _embedded_users(self) -> Floats:
        """Return the embeddings [Q, D] of evenly spaced users of the bundle."""
        rows = evenly_spaced(len(self._bundle.users.values), NUM_QUERIES) + 1
        return user_vectors(self._bundle)(rows) if len(rows) else self._bundle.item_embeddings[:0]


def fresh_index(
    spec: Mapping[str, Any],
    search_args: Mapping[str, int],
    vectors: Floats,
    rows: Rows,
    before: Index | None = None,
) -> Index:
    """Return an index of vectors [N, D], N > 0, of rows [N], with the settings of the bundle's index.

    If the index before it has clusters, they are balanced, and no codes are trained. If the settings do not
    fit so few items, search is exact. Search arguments are limited to the new size.
    """
    config = Index.Config.model_validate(spec)
    if len(rows) < config.min_items or config.size_problems(vectors.shape[1], len(rows)):
        config = FlatIP.Config()
    elif isinstance(before, IVF):
        return before.balanced(vectors, rows)
    fresh = config.for_size(len(rows)).build()
    fresh.build(vectors, rows)
    largest = fresh.largest_search_arg
    fresh.set_search_args(
        {name: min(search_args.get(name, most), largest) for name, most in fresh.search_args.items()}
    )
    return fresh
