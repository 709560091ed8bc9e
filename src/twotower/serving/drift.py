"""Changes of the catalogue since its index was built, and the rebuilt index.

Shapes: N vectors, D embedding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index
from twotower.serving.live_items import Floats, LiveItems, Rows

PART = 65_536
MIN_CHANGES = 100
"""Fewer added and removed items never need a rebuild."""
MAX_LIVE_SHARE = 0.2
MAX_TOMBSTONE_SHARE = 0.2
MAX_CENTROID_SHIFT = 0.25


@dataclass(frozen=True)
class Drift:
    """Changes of the catalogue since its index was built.

    Attributes:
        live_share: share of the offered items that were added since.
        tombstone_share: share of the indexed items that were removed or changed since, or share of tombstones
            in the index if that is larger.
        centroid_shift: distance between the means of the offered and the indexed vectors, relative to the
            root mean square distance of the indexed vectors from their mean.
        needs_rebuild: whether there are at least 100 changes, an offered item, and a value above its limit
            (0.2, 0.2 and 0.25).
    """

    live_share: float
    tombstone_share: float
    centroid_shift: float
    needs_rebuild: bool


class DriftCounter:
    """Computes `Drift` incrementally.

    Args:
        vectors: indexed vectors [N, D].
        num_rows: highest row when the index was built; added items have higher rows.
    """

    def __init__(self, vectors: Floats, num_rows: int) -> None:
        self._num_rows = num_rows
        self._num_built = len(vectors)
        self._sum = vectors.sum(0, dtype=np.float64)
        self._mean = self._sum / max(1, len(vectors))
        parts = (vectors[start : start + PART] for start in range(0, len(vectors), PART))
        squares = math.fsum(float(np.square(part - self._mean).sum()) for part in parts)
        self._spread = math.sqrt(squares / max(1, len(vectors)))
        self._num_added = self._num_removed = 0

    def added(self, vector: Floats) -> None:
        """Count an added item."""
        self._num_added += 1
        self._sum = self._sum + vector

    def removed(self, row: int, vector: Floats) -> None:
        """Count a removed item."""
        if row > self._num_rows:
            self._num_added -= 1
        else:
            self._num_removed += 1
        self._sum = self._sum - vector

    def drift(self, num_tombstones: int = 0) -> Drift:
        """Return the drift, given the number of removed vectors that the index still stores."""
        num_offered = self._num_built + self._num_added - self._num_removed
        live = self._num_added / max(1, num_offered)
        tombstones = max(
            self._num_removed / max(1, self._num_built), num_tombstones / max(1, num_tombstones + num_offered)
        )
        distance = float(np.linalg.norm(self._sum / max(1, num_offered) - self._mean)) if num_offered else 0.0
        shift = distance / self._spread if self._spread else 0.0
        moved = live > MAX_LIVE_SHARE or tombstones > MAX_TOMBSTONE_SHARE or shift > MAX_CENTROID_SHIFT
        enough = self._num_added + max(self._num_removed, num_tombstones) >= MIN_CHANGES
        return Drift(live, tombstones, shift, moved and enough and num_offered > 0)


def fresh_index(
    spec: Mapping[str, Any], search_args: Mapping[str, int], vectors: Floats, rows: Rows
) -> Index:
    """Build an index over vectors [N, D], N > 0, of rows [N], with the settings of the bundle's index.

    If the settings do not fit so few items, search is exact. Search arguments are limited to the new size.
    """
    config = Index.Config.model_validate(spec)
    if len(rows) < config.min_items or any(config.problems(vectors.shape[1], len(rows))):
        config = FlatIP.Config()
    fresh = config.for_size(len(rows)).build()
    fresh.build(vectors, rows)
    largest = fresh.largest_search_arg
    fresh.set_search_args(
        {name: min(search_args.get(name, most), largest) for name, most in fresh.search_args.items()}
    )
    return fresh


def catch_up(fresh: Index, counter: DriftCounter, items: LiveItems, built: Rows, num_rows: int) -> None:
    """Apply the changes of the catalogue during the build of an index to the index and its drift.

    At the start of the build, the rows `built` were offered, and `num_rows` was the highest row. The caller
    holds the lock of the catalogue for writing.
    """
    removed = built[~items.live(built)]
    fresh.remove(removed)
    for row, vector in zip(removed.tolist(), items.embeddings(removed), strict=True):
        counter.removed(row, vector)
    new = np.flatnonzero(items.live_mask()[num_rows:]).astype(np.int64) + num_rows + 1
    if len(new):
        fresh.add(items.embeddings(new), new)
        for vector in items.embeddings(new):
            counter.added(vector)
