"""Build, save, load and change a small index before training, so that errors appear early."""

import tempfile
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError
from twotower.index.ground_truth import SearchResult
from twotower.index.index import Index

MAX_VECTORS = 20_000
NUM_QUERIES = 32
REHEARSAL_SEED = 0
NUM_CHANGED = 64
TOLERANCE = 1e-4
"""Allowed difference of scores, relative to the largest: the order of summation may change."""


def rehearse(config: Index.Config, dim: int, num_items: int) -> Index:
    """Build, search, save, load, remove and add on random unit vectors of the right dimension and size class.

    Returns the index, which has at most 20,000 vectors unless its training needs more. Raises InputError if
    the settings do not fit the sizes, or the index class has a defect.
    """
    if found := list(config.problems(dim, num_items)):
        raise InputError("\n".join(f"{f'index.{name}'.strip('.')}: {message}" for name, message in found))
    if num_items < 1:
        raise InputError("index: the catalogue has no items to index")
    config = config.for_size(num_items)
    index = config.build()
    index.training_iterations = 1
    size = min(num_items, max(MAX_VECTORS, config.min_items))
    vectors = np.random.default_rng(REHEARSAL_SEED).standard_normal((size, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(1, size + 1)
    index.build(vectors, rows)
    copy, _ = save_and_load(index)
    queries, k = vectors[:NUM_QUERIES], min(100, size)
    problem = find_copy_problem(index, copy, queries, k) or find_change_problem(
        copy, vectors, rows, queries, k
    )
    if problem:
        raise InputError(f"index: {problem}; correct {type(index).__name__}, or choose another index")
    return index


def save_and_load(index: Index) -> tuple[Index, int]:
    """Save an index and load it. Returns the loaded index and the size of the file in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        index.save(path)
        copy = index.config.build()
        copy.load(path)
        return copy, path.stat().st_size


def find_copy_problem(index: Index, copy: Index, queries: np.ndarray, k: int) -> str:
    """Return the difference of an index after saving and loading; "" if there is none."""
    if not np.array_equal(copy.rows, index.rows):
        return "after saving and loading, the index has other rows"
    before, after = index.search(queries, k), copy.search(queries, k)
    if not (np.array_equal(before.rows, after.rows) and np.array_equal(before.scores, after.scores)):
        return "after saving and loading, search results differ"
    return ""


def find_change_problem(
    copy: Index, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int
) -> str:
    """Remove items of a copy and add them again; return the first problem, "" if there is none."""
    present = np.flatnonzero(np.isin(rows, copy.rows))
    changed = present[np.linspace(0, len(present) - 1, min(len(present), NUM_CHANGED)).astype(np.int64)]
    vectors, rows = vectors[changed], rows[changed]
    try:
        all_rows, before = copy.rows, copy.search(queries, k)
        own = _finds_itself(copy, vectors, rows, k)
        num_removed, after = copy.remove(rows), copy.search(queries, k)
        if num_removed != len(rows) or not np.array_equal(copy.rows, np.setdiff1d(all_rows, rows)):
            return f"after {len(rows)} items were removed, the index has other rows than expected"
        if np.isin(after.rows, rows).any():
            return "after items were removed, the index still finds them"
        lost = (before.rows >= 0) & ~np.isin(before.rows, rows)
        if (lost.sum(axis=1) > (after.rows >= 0).sum(axis=1)).any():
            return "after items were removed, the index finds fewer of the others"
        copy.add(vectors, rows)
        again = copy.search(queries, k)
        if not np.array_equal(copy.rows, all_rows):
            return "after items were removed and added again, the index holds other rows"
        if not (_agree(before, after) and _agree(before, again)):
            return "after items were removed and added, the index answers with the scores of other items"
        if own.any() and _finds_itself(copy, vectors, rows, k)[own].mean() < copy.config.min_recall:
            return "after items were removed and added again, the index does not find them"
        return ""
    except Exception as error:  # any error would also reach callers of `remove`
        return f"items cannot be removed and added ({type(error).__name__}: {error!s:.200})"


def _finds_itself(index: Index, vectors: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    found: np.ndarray = (index.search(vectors, k).rows == rows[:, None]).any(axis=1)
    return found


def _agree(left: SearchResult, right: SearchResult) -> bool:
    for query in range(len(left.rows)):
        _, ours, theirs = np.intersect1d(left.rows[query], right.rows[query], return_indices=True)
        kept = left.rows[query][ours] >= 0
        scores, others = left.scores[query][ours[kept]], right.scores[query][theirs[kept]]
        if len(scores) and np.abs(scores - others).max() > TOLERANCE * max(1e-30, np.abs(scores).max()):
            return False
    return True
