"""Distances of many vectors by matrix products, for which Faiss has a global setting."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import faiss

MATRIX_PRODUCTS_FROM = 20
"""Number of vectors from which training computes distances by matrix products. The Faiss 1.15 default of
128,000 makes training 9 to 20 times slower."""
TRAINING = Lock()
"""Allows one training at a time, because the Faiss setting is global."""


@contextmanager
def matrix_products() -> Iterator[None]:
    """Compute the distances of a training by matrix products, also those of concurrent searches."""
    with TRAINING:
        before = faiss.cvar.distance_compute_blas_threshold
        faiss.cvar.distance_compute_blas_threshold = MATRIX_PRODUCTS_FROM
        try:
            yield
        finally:
            faiss.cvar.distance_compute_blas_threshold = before
