"""Our rows as the ids of any Faiss object, one that takes no ids or cannot remove too.

Such a one (a graph, say) gets Faiss's table of ids, IDMap2, and there a removed vector has the id TOMBSTONE
from then on: it is met by searches, left out of what they find, and gone when the index is built anew. The
table lies in the file of the index, and so do the tombstones.
"""

import math
from typing import Any

import faiss
import numpy as np

TOMBSTONE = -2
"""Faiss itself says -1 where it ran out of vectors."""


def with_ids(trained: Any) -> Any:
    """Return a trained, empty Faiss object, with a table of ids where it lacks ids or removal."""
    if isinstance(trained, faiss.IndexIDMap):
        return trained
    none, no_rows = np.empty((0, trained.d), dtype=np.float32), np.empty(0, dtype=np.int64)
    try:
        trained.add_with_ids(none, no_rows)
        trained.remove_ids(no_rows)
    except RuntimeError:  # what Faiss says to what a kind does not offer
        return faiss.IndexIDMap2(trained)
    return trained


def layers(held: Any) -> list[Any]:
    """Return a Faiss object, and what is inside of it where it is a table of ids."""
    return [held, faiss.downcast_index(held.index)] if isinstance(held, faiss.IndexIDMap) else [held]


def ids_in_table(held: Any) -> np.ndarray | None:
    """Return the ids of a table that are no tombstones, int64 [N]; None where there is no table."""
    if not isinstance(held, faiss.IndexIDMap):
        return None
    ids = np.asarray(faiss.vector_to_array(held.id_map), dtype=np.int64)
    kept: np.ndarray = ids[ids != TOMBSTONE]
    return kept


def table_fits(held: Any) -> bool:
    """Tell whether a table of ids, where there is one, has an id for each vector of what it holds."""
    if not isinstance(held, faiss.IndexIDMap):
        return True
    sizes = {held.ntotal, held.index.ntotal, held.id_map.size()}
    return len(sizes) == 1 and bool(held.d == held.index.d)


def take_out(held: Any, rows: np.ndarray) -> None:
    """Remove vectors, or make tombstones of them where the kind cannot.

    Args:
        held: what `with_ids` returned, or a file of it.
        rows: int64 [n], all of them in it.
    """
    try:
        held.remove_ids(rows)
    except RuntimeError:
        if not isinstance(held, faiss.IndexIDMap):
            raise
        table = faiss.rev_swig_ptr(held.id_map.data(), held.id_map.size())
        table[np.isin(table, rows)] = TOMBSTONE


def search(held: Any, queries: np.ndarray, k: int, num_live: int) -> tuple[np.ndarray, np.ndarray]:
    """Search past the tombstones.

    More is asked for than is wanted, and twice as much for the queries that it did not suffice for.

    Args:
        held: a Faiss object.
        queries: float32 [Q, D], Q > 0.
        k: at least 1, at most `num_live`.
        num_live: its vectors that are no tombstones.

    Returns:
        Scores and rows, each [Q, k]; row -1 where the index ran out.
    """
    if num_live == held.ntotal:
        scores, rows = held.search(queries, k)
        return scores, rows
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    left, size = np.arange(len(queries)), math.ceil(k * held.ntotal / num_live)
    while len(left):
        size = min(size, held.ntotal)
        found_scores, found = held.search(queries[left], size)
        first = np.argsort(found < 0, axis=1, kind="stable")[:, :k]  # those that live, in their order
        scores[left] = np.take_along_axis(found_scores, first, axis=1)
        rows[left] = np.take_along_axis(found, first, axis=1)
        enough = ((found >= 0).sum(axis=1) >= k) | (found == -1).any(axis=1) | (size == held.ntotal)
        left, size = left[~enough], 2 * size
    rows[rows < 0] = -1
    return scores, rows
