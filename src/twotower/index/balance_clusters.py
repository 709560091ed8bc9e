"""Keep clusters around centroids balanced while items come and go.

Shapes: C clusters, N vectors, D embedding.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

SPLIT_ABOVE = 2.0
"""A cluster with more items than this multiple of the usual size is split."""
MIN_ITEMS = 39
"""Items that each part of a split cluster should get: the points per centroid that Faiss recommends."""
SPLIT_SEED = 1234
BLOCK = 4096
"""Vectors that are compared with centroids at once."""

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


def balance_clusters(
    centroids: Floats, vectors: Floats, assigned: Numbers, usual_size: float
) -> tuple[Floats, Numbers]:
    """Split overfull clusters, drop empty ones, and move the other centroids to their vectors' mean.

    An overfull cluster becomes as many clusters as its size is multiples of the usual one, by k-means of its
    vectors. Then each vector moves to its nearest centroid. The same arguments give the same result.
    Small clusters stay, as they can be there for the users (see `find_centroids`).

    Args:
        centroids: [C, D].
        vectors: [N, D].
        assigned: the cluster of each vector, [N].
        usual_size: number of vectors that a cluster should have; not the mean, which falls with each split.

    Returns:
        The centroids [C', D] and the cluster of each vector [N].

    Reference: Xu et al., "SPFresh: incremental in-place update for billion-scale vector search", SOSP 2023,
        section 3 (LIRE), which moves vectors near split clusters only.
    """
    sizes = np.bincount(assigned, minlength=len(centroids))
    parts = []
    for members in np.split(np.argsort(assigned, kind="stable"), np.cumsum(sizes)[:-1]):
        if len(members) > max(SPLIT_ABOVE * usual_size, 2 * MIN_ITEMS):
            num_parts = min(round(len(members) / usual_size), len(members) // MIN_ITEMS)
            parts.append(_split(vectors[members], num_parts))
        elif len(members):
            parts.append(vectors[members].mean(axis=0, keepdims=True))
    renewed = np.concatenate(parts)
    return renewed, nearest(renewed, vectors)


def nearest(centroids: Floats, vectors: Floats) -> Numbers:
    """Return the nearest centroid of each vector by Euclidean distance, [N]."""
    half_norms = 0.5 * np.einsum("cd,cd->c", centroids, centroids)
    found = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = slice(start, start + BLOCK)
        found[block] = np.argmax(vectors[block] @ centroids.T - half_norms, axis=1)
    return found


def _split(members: Floats, num_parts: int) -> Floats:
    """Return the centroids of k-means that have vectors."""
    clustering = faiss.Kmeans(
        members.shape[1], max(2, num_parts), niter=10, seed=SPLIT_SEED, min_points_per_centroid=1
    )
    clustering.train(members)
    found: Any = clustering.centroids
    with_vectors: Floats = found[np.unique(nearest(found, members))]
    return with_vectors
