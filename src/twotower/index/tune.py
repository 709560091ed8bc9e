"""Choose the search argument that reaches a recall target; measure search time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import faiss
import numpy as np

from twotower.config.progress import Progress
from twotower.index.ground_truth import GroundTruth, SearchResult
from twotower.index.index import Index

NUM_WARM_UP = 20
NUM_SINGLE = 300  # queries timed one by one after the warm-up


def latency_ms(index: Index, queries: np.ndarray, k: int) -> tuple[float, float]:
    """Return median and 99th percentile of the time of one query on one thread, in milliseconds."""
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
    """Search all queries repeatedly for at least `min_seconds`. Returns the result and queries per second."""
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
    """Limit Faiss to one thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


SATURATED = 0.9999
MIN_POINT_SECONDS = 0.03
CEILING_SLACK = 0.001
"""If no point reaches the target, the fastest point within this distance of the best recall is chosen."""


@dataclass(frozen=True)
class OperatingPoint:
    """Tie-tolerant recall@k and time per query (one thread, in a batch) of one search argument."""

    search_args: dict[str, int]
    recall: float
    latency_ms: float
    queries_per_second: float


def search_grid(index: Index) -> list[dict[str, int]]:
    """Return search arguments from fastest to most thorough: 1, 2, 3, 4, 6, 8, 12 ... the largest.

    `[{}]` if the index has no search argument.
    """
    if not index.search_args:
        return [{}]
    largest = index.largest_search_arg
    powers = [2**exponent for exponent in range(largest.bit_length())]
    steps = {largest, *powers, *(3 * power // 2 for power in powers)}
    (name,) = index.search_args
    return [{name: step} for step in sorted(steps) if step <= largest]


def tune(index: Index, truth: GroundTruth) -> list[OperatingPoint]:
    """Measure the grid of search arguments and set the fastest that reaches the index's target recall.

    The sweep ends once recall is saturated. An argument that the settings fix is not changed. If no point
    reaches the target, the fastest point within .001 of the best recall is set. `truth` must not contain the
    queries of `check`.
    """
    given, target_recall = index.search_args, index.config.target_recall
    grid, points, effort = search_grid(index), [], 0
    with Progress("index: tuning", sum(sum(each.values()) for each in grid)) as advance:
        for search_args in grid:
            advance(effort)
            effort += sum(search_args.values())
            index.set_search_args(search_args)
            with single_thread():
                found, rate = batch_rate(index, truth.queries, truth.k, MIN_POINT_SECONDS)
            recall = truth.recall(found.rows)
            points.append(OperatingPoint(search_args, recall, 1000 / rate, rate))
            if recall >= max(target_recall, SATURATED):
                break
    fixed = all(getattr(index.config, name, None) is not None for name in given)
    index.set_search_args(given if fixed else choose_point(points, target_recall).search_args)
    return points


def choose_point(points: list[OperatingPoint], target_recall: float) -> OperatingPoint:
    """Return the first point that reaches the target, else the first within .001 of the best recall."""
    aim = min(target_recall, max(point.recall for point in points) - CEILING_SLACK)
    reached = [point for point in points if point.recall >= target_recall]
    return reached[0] if reached else next(point for point in points if point.recall >= aim)
