"""How long searches take."""

import time
from dataclasses import dataclass

import numpy as np

from twotower.index.index import Index, SearchResult
from twotower.index.threads import single_thread

NUM_WARM_UP = 20
MIN_BATCH_SECONDS = 0.1


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one query on one thread, and queries per second of a batch on all threads."""

    latency_ms_p50: float
    latency_ms_p99: float
    queries_per_second: float


def measure_latency(index: Index, queries: np.ndarray, k: int, num_single: int = 300) -> Latency:
    """Search one query at a time, then all at once.

    Args:
        index: built.
        queries: [Q, D], Q at least 1; repeated where there are fewer than needed.
        k: how many items.
        num_single: how many single queries are timed, after a warm-up.
    """
    with single_thread():
        for turn in range(NUM_WARM_UP):
            _search_one(index, queries, turn, k)
        times_ms = [1000 * _search_one(index, queries, turn, k) for turn in range(num_single)]
    p50, p99 = np.percentile(times_ms, [50, 99])
    _, rate = batch_rate(index, queries, k, MIN_BATCH_SECONDS)
    return Latency(float(p50), float(p99), rate)


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


def _search_one(index: Index, queries: np.ndarray, turn: int, k: int) -> float:
    position = turn % len(queries)
    query = queries[position : position + 1]
    started = time.perf_counter()
    index.search(query, k)
    return time.perf_counter() - started
