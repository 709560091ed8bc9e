"""Rehearse an index before training: build, save, load, filter and change it."""

import tempfile
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError
from twotower.index.ground_truth import contains
from twotower.index.index import Index

MAX_VECTORS, NUM_QUERIES, REHEARSAL_SEED = 20_000, 32, 0


def rehearse(config: Index.Config, dim: int, num_items: int) -> Index:
    """Build, save, load and change an index of random unit vectors before training, to report errors early.

    The index has at most 20,000 vectors unless its training needs more. Raises InputError if the settings do
    not fit the sizes, or the index class has a defect.
    """
    if num_items < 1:
        raise InputError("index: the catalogue has no items to index")
    config.check_sizes(dim, num_items)
    config = config.for_size(num_items)
    index = config.build()
    index.training_iterations = 1
    size = min(num_items, max(MAX_VECTORS, config.min_items))
    vectors = np.random.default_rng(REHEARSAL_SEED).standard_normal((size, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(1, size + 1)
    index.build(vectors, rows)
    copy = save_and_load(index)
    queries, k = vectors[:NUM_QUERIES], min(100, size)
    problem = (
        find_copy_problem(index, copy, queries, k)
        or find_change_problem(copy, vectors[0], size + 1)
        or find_filter_problem(copy, queries, k)
    )
    if problem:
        raise InputError(f"index: {problem}; correct {type(index).__name__}, or choose another index")
    return index


def save_and_load(index: Index) -> Index:
    """Return an index after saving and loading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        index.save(path)
        copy = index.config.build()
        copy.load(path)
        return copy


def find_copy_problem(index: Index, copy: Index, queries: np.ndarray, k: int) -> str:
    """Return the difference of an index after saving and loading; "" if there is none."""
    if not np.array_equal(copy.rows, index.rows):
        return "after saving and loading, the index has other rows"
    before, after = index.search(queries, k), copy.search(queries, k)
    if not (np.array_equal(before.rows, after.rows) and np.array_equal(before.scores, after.scores)):
        return "after saving and loading, search results differ"
    return ""


def find_filter_problem(index: Index, queries: np.ndarray, k: int) -> str:
    """Search for every second item, and return which other item was found; "" if none."""
    allowed = index.rows[::2]
    found = index.search(queries, k, allowed).rows
    forbidden = found[(found >= 0) & ~contains(allowed, found)]
    if not len(forbidden):
        return ""
    return f"a search for some items finds another one (row {forbidden[0]}): it ignores `allowed`"


def find_change_problem(index: Index, vector: np.ndarray, row: int) -> str:
    """Add an item, remove it, and return what failed; "" if nothing did."""
    try:
        index.add(vector[None], np.array([row]))
        index.remove(np.array([row]))
    except RuntimeError as error:  # of Faiss, for an operation that a class does not implement
        return f"items cannot be added to it and removed ({str(error).strip().rpartition(': ')[2]})"
    found = index.search(vector[None], index.num_vectors).rows
    return f"an item that was added and removed is found (row {row})" if row in found else ""
