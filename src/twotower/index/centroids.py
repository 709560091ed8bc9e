"""Centroids of clusters by k-means of item vectors.

Shapes: N items, Q queries, C centroids, D embedding.
"""

from typing import Any

import faiss
import numpy as np

from twotower.index.ground_truth import GroundTruth, k_of_sample
from twotower.index.matrix_products import matrix_products

CLUSTERING_SEED, ITERATIONS = 1234, 10
SAMPLED_PER_CENTROID = 100
"""Sampled items per centroid, without the items that the queries find."""
FOUND_WEIGHT = 0.5
"""Weight of the items that the queries find / weight of the sampled items."""
MAX_QUERIES = 1000


def set_clustering(clustering: Any, iterations: int | None) -> None:
    """Fix the seed of k-means, use Euclidean means, and silence warnings about few training points."""
    clustering.seed = CLUSTERING_SEED
    clustering.min_points_per_centroid = 1
    clustering.spherical = False  # the Faiss default for inner products is True
    if iterations is not None:
        clustering.niter = iterations


def count_found(vectors: np.ndarray, queries: np.ndarray, num_items: int) -> np.ndarray:
    """Return how often each item vector [N, D] is among the best of queries [Q, D], int64 [N].

    Args:
        num_items: number of all items; `vectors` are a sample of them.
    """
    queries = queries[np.random.default_rng(CLUSTERING_SEED).permutation(len(queries))[:MAX_QUERIES]]
    k = k_of_sample(len(vectors), num_items)
    found = GroundTruth.search(vectors, np.arange(len(vectors)), queries, k).exact.rows
    return np.bincount(found.ravel(), minlength=len(vectors))


def find_centroids(
    vectors: np.ndarray, nlist: int, num_found: np.ndarray | None, iterations: int | None = None
) -> np.ndarray:
    """Return centroids [C, D] of item vectors [N, D], more of them among the items that queries find.

    Many queries find the same few items, those with long vectors for example. Clusters of plain k-means are
    large there, and most other clusters are never visited. Here a third of the weight is on the items that
    queries find, in proportion to how often.

    Args:
        num_found: see `count_found`; None: centroids fit the items alone.
        iterations: of k-means; None: as many as Faiss has for an IVF.
    """
    sample = np.random.default_rng(CLUSTERING_SEED).permutation(len(vectors))[: SAMPLED_PER_CENTROID * nlist]
    weights = np.zeros(len(vectors))
    weights[sample] = 1
    if num_found is not None:
        weights += FOUND_WEIGHT * len(sample) / num_found.sum() * num_found
    points = np.flatnonzero(weights)
    clustering = faiss.Clustering(vectors.shape[1], nlist)
    set_clustering(clustering, iterations or ITERATIONS)
    clustering.max_points_per_centroid = len(points)  # all of them
    with matrix_products():
        clustering.train(
            vectors[points], faiss.IndexFlatL2(vectors.shape[1]), weights[points].astype(np.float32)
        )
    centroids: np.ndarray = faiss.vector_to_array(clustering.centroids).reshape(nlist, -1)
    return centroids
