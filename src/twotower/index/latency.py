"""How long searches take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np

from twotower.index.exact import SearchResult
from twotower.index.index import Index

NUM_WARM_UP = 20
NUM_SINGLE = 300
"""Queries that are timed one by one, after a warm-up."""


def latency_ms(index: Index, queries: np.ndarray, k: int) -> tuple[float, float]:
    """Search one query at a time on one thread, and return the median and the 99th percentile, milliseconds.

    Args:
        queries: [Q, D], Q at least 1; repeated where there are fewer than needed.
    """
    times = []
    with single_thread():
        for turn in range(NUM_WARM_UP + NUM_SINGLE):
            query = queries[turn % len(queries)][None]
            started = time.perf_counter()
            index.search(query, k)
            times.append(1000 * (time.perf_counter() - started))
    p50, p99 = np.percentile(times[NUM_WARM_UP:], [50, 99])
    return float(p50), float(p99)


def batch_rate(index: Index, queries: np.ndarray, k: int, min_seconds: float) -> tuple[SearchResult, float]:
    """Search in whole batches for at least some time. Returns the result and queries per second."""
    index.search(queries[:NUM_WARM_UP], k)
    num_searched, started = 0, time.perf_counter()
    while True:
        result = index.search(queries, k)
        num_searched += len(queries)
        seconds = time.perf_counter() - started
        if seconds >= min_seconds:
            return result, num_searched / seconds


@contextmanager
def single_thread() -> Iterator[None]:
    """Let the calling thread's Faiss work run on one core: what a latency per query means."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
