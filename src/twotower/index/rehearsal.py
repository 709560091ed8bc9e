"""An index's whole life on random vectors, so that nothing fails for the first time after training."""

import tempfile
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError
from twotower.config.spec import Spec, build
from twotower.index.index import Index
from twotower.index.rehearse_changes import problem_of_changes

MAX_VECTORS = 20_000
NUM_QUERIES = 32
REHEARSAL_SEED = 0


def rehearse(index: Index | Spec, dim: int, num_vectors: int) -> Index:
    """Build, search, save, load, remove and add on random unit vectors of the right dimension and size class.

    Args:
        index: an index, which is left as it is, or a spec.
        dim: of the embeddings.
        num_vectors: size of the catalogue; at most 20,000 vectors are made unless training needs more.

    Returns:
        the rehearsed index, of the concrete kind that the catalogue will get.

    Raises:
        InputError: arguments that do not fit these sizes, all at once; a kind that does not add and remove.
    """
    if not isinstance(index, Index):
        index = build(index, Index)
    found = index.problems(dim, num_vectors)
    if found:
        raise InputError("\n".join(f"index.{name}: {message}" for name, message in found))
    if num_vectors < 1:
        raise InputError("index: the catalogue has no items, so there is nothing to index")
    fresh = index.for_size(num_vectors)
    fresh.training_iterations = 1
    size = min(num_vectors, max(MAX_VECTORS, fresh.min_training_vectors))
    vectors = np.random.default_rng(REHEARSAL_SEED).standard_normal((size, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fresh.build(vectors, np.arange(1, size + 1))
    queries, k = vectors[:NUM_QUERIES], min(100, size)
    expected = fresh.search(queries, k).rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        fresh.save(path)
        loaded = build(fresh.spec(), Index)
        loaded.load(path)
    if not np.array_equal(loaded.search(queries, k).rows, expected):
        raise RuntimeError(f"index {fresh.factory} answers otherwise after saving and loading")
    problem = problem_of_changes(loaded, vectors, np.arange(1, size + 1), queries, k)
    if problem:
        raise InputError(f"index: {problem}; mend {type(fresh).__name__}, or choose another index")
    return fresh
