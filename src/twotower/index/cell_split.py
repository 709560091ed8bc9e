"""Keep cells around centroids balanced while items come and go.

Shapes: C cells, N vectors, D embedding, P parts of split cells.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

SPLIT_ABOVE = 2.0
"""A cell with more items than this multiple of the usual size is split."""
DROP_BELOW = 0.1
"""A cell with fewer items than this share of the usual size is dropped."""
LEAST_ITEMS = 39
"""Items that each part of a split cell should get: the points per centroid that Faiss recommends."""
SPLIT_SEED = 1234
BLOCK = 4096
"""Vectors that are compared with centroids at once."""

Floats = NDArray[np.float32]
Cells = NDArray[np.int64]


def balance_cells(
    centroids: Floats, vectors: Floats, cells: Cells, usual_size: float
) -> tuple[Floats, Cells]:
    """Split overfull cells and drop nearly empty ones.

    An overfull cell becomes as many cells as its size is multiples of the usual one, by k-means of its
    vectors. Vectors of split and dropped cells move to the nearest of all centroids. Another vector moves if
    a new centroid is nearer than its own. So if each vector was in its nearest cell, it is again. The same
    arguments give the same result.

    Args:
        centroids: [C, D].
        vectors: [N, D].
        cells: the cell of each vector, [N].
        usual_size: number of vectors that a cell should have; not the mean, which falls with each split.

    Returns:
        The centroids [C', D] and the cell of each vector [N]; the arguments if no cell was split or dropped.

    Reference: Xu et al., "SPFresh: incremental in-place update for billion-scale vector search", SOSP 2023,
        section 3 (LIRE).
    """
    sizes = np.bincount(cells, minlength=len(centroids))
    parts = [np.empty((0, centroids.shape[1]), dtype=np.float32)]
    is_gone = sizes < DROP_BELOW * usual_size
    for cell in np.flatnonzero(sizes > max(SPLIT_ABOVE * usual_size, 2 * LEAST_ITEMS)):
        members = vectors[cells == cell]
        found = _split(members, min(round(len(members) / usual_size), len(members) // LEAST_ITEMS))
        if len(found) > 1:  # otherwise its vectors are equal
            parts.append(found)
            is_gone[cell] = True
    if not is_gone.any():
        return centroids, cells
    new = np.concatenate(parts)
    kept = centroids[~is_gone]
    moved = (np.cumsum(~is_gone) - 1)[cells]
    for start in range(0, len(vectors) if len(new) else 0, BLOCK):
        block = slice(start, start + BLOCK)
        part, score = nearest(new, vectors[block])
        own = centroids[cells[block]]
        own_score = np.einsum("nd,nd->n", vectors[block] - 0.5 * own, own)
        moved[block] = np.where(score > own_score, len(kept) + part, moved[block])
    homeless = is_gone[cells]
    renewed = np.concatenate([kept, new])
    moved[homeless] = nearest(renewed, vectors[homeless])[0]
    return renewed, moved


def nearest(centroids: Floats, vectors: Floats) -> tuple[Cells, Floats]:
    """Return the nearest centroid of each vector by Euclidean distance [N], and a score of it [N].

    The score is half the squared length of the vector less half the squared distance.
    """
    halves = 0.5 * np.einsum("cd,cd->c", centroids, centroids)
    found, scores = np.empty(len(vectors), dtype=np.int64), np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        compared = vectors[block] @ centroids.T - halves
        found[block] = compared.argmax(axis=1)
        scores[block] = np.take_along_axis(compared, found[block, None], axis=1)[:, 0]
    return found, scores


def _split(members: Floats, num_parts: int) -> Floats:
    """Return the centroids of k-means that have vectors."""
    clustering = faiss.Kmeans(
        members.shape[1], max(2, num_parts), niter=10, seed=SPLIT_SEED, min_points_per_centroid=1
    )
    clustering.train(members)
    found: Any = clustering.centroids
    with_vectors: Floats = found[np.unique(nearest(found, members)[0])]
    return with_vectors
