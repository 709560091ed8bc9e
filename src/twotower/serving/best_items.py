"""The k best of the items a request allows: always k where k exist.

Shapes: D embedding, n candidates, K results.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twotower.index.index import Index
from twotower.serving.live_items import LiveItems, Rows

SCAN_SHARE = 0.25
"""Of the catalogue: where more has to be fetched, looking at all of it is quicker and never falls short."""

Best = tuple[Rows, NDArray[np.float32]]


def best_items(
    index: Index,
    items: LiveItems,
    query: NDArray[np.float32],
    k: int,
    excluded: Rows,
    allowed: Rows | None = None,
) -> Best:
    """Find the best items for an embedding.

    The index is asked for as many more as are excluded. Where it runs out (the searched cells held too few),
    and where a list of allowed items is given, every candidate's vector is looked at. Scores are exact
    whatever the index stores, equal ones in the order of rows.

    Args:
        index: of the items that are offered.
        items: their vectors.
        query: float32 [D].
        k: how many; fewer are returned only where fewer are allowed.
        excluded: distinct rows not to return.
        allowed: distinct rows to choose from, all of them offered; None for the whole catalogue.

    Returns:
        Rows [K], best first, and their scores [K].
    """
    if allowed is not None:
        candidates = np.setdiff1d(allowed, excluded, assume_unique=True)
        return _first(candidates, items.scores(candidates, query), k)
    num_fetched = k + len(excluded)
    if num_fetched < SCAN_SHARE * items.num_live:
        found = index.search(query[None], num_fetched).rows[0]
        found = np.setdiff1d(found[found > 0], excluded)
        if len(found) >= k:
            return _first(found, items.scores(found, query), k)
    candidates = np.setdiff1d(items.live_rows(), excluded, assume_unique=True)
    return _first(candidates, items.scores(None, query)[candidates - 1], k)


def most_alike(
    items: LiveItems,
    row: Rows,
    k: int,
    tower_part: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> Best:
    """Find the items whose embeddings point the same way as an item's: the score of vectors of length 1.

    The norm of an embedding says how much the item is wanted, not what it is like.

    Args:
        items: their vectors.
        row: [1] the item, itself left out.
        k: how many.
        tower_part: leaves out what in embeddings [n, D] is not the tower's.
    """
    candidates = np.setdiff1d(items.live_rows(), row, assume_unique=True)
    query, others = (_unit(tower_part(items.vectors(rows))) for rows in (row, candidates))
    return _first(candidates, others @ query[0], k)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(norms > 0, norms, 1), dtype=np.float32)


def _first(rows: Rows, scores: NDArray[np.float32], k: int) -> Best:
    """Return the k highest scores and their rows; equal scores in the order of rows."""
    if k < len(rows):
        lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= lowest)
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
