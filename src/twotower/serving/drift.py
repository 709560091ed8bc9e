"""How far the catalogue has moved since its index was built, and the index that catches up with it.

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
"""Items put in and taken out before which nothing is worth a rebuild."""
MAX_LIVE_SHARE = 0.2
MAX_TOMBSTONE_SHARE = 0.2
MAX_CENTROID_SHIFT = 0.25


@dataclass(frozen=True)
class Drift:
    """How far the catalogue has moved since its index was built: with the bundle, or by the last rebuild.

    Args:
        live_share: of the items that are offered, those put in since.
        tombstone_share: of the items the index was built over, those removed or changed since; of an index
            that cannot remove, all vectors that it holds for nothing, where their share is larger.
        centroid_shift: distance between the mean of the offered vectors and the mean of those the index was
            built over, in units of the latter's root mean square distance from their mean.
        needs_rebuild: there are 100 changes or more, one of the three is above 0.2, 0.2 or 0.25, and an item
            is left.
    """

    live_share: float
    tombstone_share: float
    centroid_shift: float
    needs_rebuild: bool


class DriftCounter:
    """Keeps `Drift` up to date at the cost of one addition of vectors a change.

    The index was built over `vectors` [N, D], when so many rows were given; later ones are higher.
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
        """Count an item put in."""
        self._num_added += 1
        self._sum = self._sum + vector

    def removed(self, row: int, vector: Floats) -> None:
        """Count an item taken out."""
        if row > self._num_rows:
            self._num_added -= 1
        else:
            self._num_removed += 1
        self._sum = self._sum - vector

    def drift(self, num_tombstones: int = 0) -> Drift:
        """Return how far the catalogue has moved; tombstones are vectors that the index holds for nothing."""
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
    """Build an index over vectors [N, D], N > 0, of rows [N], as the bundle's was built and is searched.

    So few items that the spec does not fit them are searched exactly, and no search argument is larger than
    there are cells, or items.
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
    """Bring an index and its drift up to date with what was put in and taken out while it was built.

    When building began, the rows `built` were offered and `num_rows` given; `items` are held still now.
    """
    gone = built[~items.live(built)]
    fresh.remove(gone)
    for row, vector in zip(gone.tolist(), items.embeddings(gone), strict=True):
        counter.removed(row, vector)
    new = np.flatnonzero(items.live_mask()[num_rows:]).astype(np.int64) + num_rows + 1
    if len(new):
        fresh.add(items.embeddings(new), new)
        for vector in items.embeddings(new):
            counter.added(vector)
