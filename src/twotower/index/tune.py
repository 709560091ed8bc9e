"""Measure recall and speed of an index, and choose its search argument."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import faiss
import numpy as np

from twotower.config.progress import Progress
from twotower.index.choice import Measurement
from twotower.index.ground_truth import GroundTruth, SearchResult
from twotower.index.index import Index

NUM_WARM_UP = 20
NUM_SINGLE = 300  # queries timed one by one
SATURATED = 0.9999
MIN_POINT_SECONDS = 0.03
MIN_GAIN = 0.0005
"""Gain in recall of two steps below which longer searches are not tried; `tune` does so among many vectors
only, where the last steps take hours."""
MANY_ITEMS = 100_000
"""Number of items up to which tuning goes on beyond the target, for the curve of recall and latency."""
CEILING_SLACK = 0.001
"""If no point reaches the target, the fastest point within this distance of the best recall is chosen."""
ONE_SIDED_95 = 1.645
"""Standard errors below a mean of queries at which the lower end of its one-sided 95 % interval is."""

Measure = Callable[[dict[str, int]], Measurement]
"""Sets a search argument and measures the index with it."""


def time_searches(
    searches: Sequence[tuple[Index, np.ndarray]],
    k: int,
    rounds: int = 1,
    min_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    all_threads: bool = False,
) -> tuple[np.ndarray, SearchResult]:
    """Time searches after a warm-up. They are interleaved, because the speed of a machine changes.

    Args:
        searches: an index and queries [Q, D] of each search.
        rounds: least number of repetitions of all searches.
        min_seconds: least duration of all rounds.
        clock: `time.thread_time` is hardly affected by other work on the machine.
        all_threads: use all threads of Faiss instead of one.

    Returns:
        Seconds per query [rounds, searches], and the result of the last search.
    """
    seconds: list[list[float]] = []
    with nullcontext() if all_threads else single_thread():
        for index, queries in searches[:NUM_WARM_UP]:
            index.search(queries[:NUM_WARM_UP], k)
        first_start = time.perf_counter()
        while len(seconds) < rounds or time.perf_counter() - first_start < min_seconds:
            seconds.append([])
            for index, queries in searches:
                started = clock()
                found = index.search(queries, k)
                seconds[-1].append((clock() - started) / len(queries))
    return np.array(seconds), found


@contextmanager
def single_thread() -> Iterator[None]:
    """Limit Faiss to one thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def latency_ms(index: Index, queries: np.ndarray, k: int) -> tuple[float, float]:
    """Return median and 99th percentile of the time of one query on one thread, in milliseconds."""
    searches = [(index, queries[turn % len(queries)][None]) for turn in range(NUM_SINGLE)]
    p50, p99 = np.percentile(1000 * time_searches(searches, k)[0], [50, 99])
    return float(p50), float(p99)


def measure(
    index: Index,
    truth: GroundTruth,
    search_args: dict[str, int],
    rounds: int = 1,
    min_recall: float | None = None,
) -> Measurement:
    """Set a search argument, and measure recall and the fastest of the rounds of a batch on one thread.

    `is_safe` is about `min_recall`.
    """
    index.set_search_args(search_args)
    seconds, found = time_searches([(index, truth.queries)], truth.k, rounds, MIN_POINT_SECONDS)
    recalls, fastest = truth.recalls(found.rows), float(seconds.min())
    low = recalls.mean() - ONE_SIDED_95 * recalls.std() / len(recalls) ** 0.5
    is_safe = None if min_recall is None else bool(low >= min_recall)
    return Measurement(search_args, float(recalls.mean()), 1000 * fastest, 1 / fastest, is_safe=is_safe)


def measure_recall(index: Index, truth: GroundTruth, search_args: dict[str, int]) -> Measurement:
    """Set a search argument and measure recall alone."""
    index.set_search_args(search_args)
    recall = 1.0 if index.is_exact else truth.recall(index.search(truth.queries, truth.k).rows)
    return Measurement(search_args, recall)


def tune(index: Index, truth: GroundTruth) -> list[Measurement]:
    """Measure search arguments and set the fastest that reaches the index's target recall.

    It must also be safe. The grid ends once recall is saturated, among many vectors at the target. Then
    arguments between the last one below the target and the first one that reaches it are measured. An
    argument that the settings fix is not changed. If no point reaches the target, the fastest point within
    .001 of the best recall is set. `truth` must not contain the queries of `check`.
    """
    given, target_recall = index.search_args, index.config.target_recall
    effort, is_large = 0, len(truth.rows) > MANY_ITEMS

    def measure_next(search_args: dict[str, int]) -> Measurement:
        nonlocal effort
        advance(effort)
        effort += sum(search_args.values())
        return measure(index, truth, search_args, min_recall=index.config.min_recall)

    enough, least_gain = (target_recall, MIN_GAIN) if is_large else (max(target_recall, SATURATED), -1.0)
    with Progress("index: tuning", sum(sum(each.values()) for each in search_grid(index))) as advance:
        points = recall_curve(index, measure_next, enough, least_gain=least_gain)
        points = refine(points, measure_next, target_recall)
    chosen = given if has_fixed_search(index) else choose_point(points, target_recall).search_args
    index.set_search_args(chosen)
    return points


def has_fixed_search(index: Index) -> bool:
    """Return whether the settings fix the search argument, or there is none."""
    return all(getattr(index.config, name, None) is not None for name in index.search_args)


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


def recall_curve(
    index: Index, measure_next: Measure, enough: float, beyond: int = 0, least_gain: float = MIN_GAIN
) -> list[Measurement]:
    """Measure growing search arguments until `beyond` points after enough recall.

    It ends earlier if recall grows by less than `least_gain` in two steps. The last argument stays set.
    """
    points: list[Measurement] = []
    for search_args in search_grid(index):
        points.append(measure_next(search_args))
        is_enough = len(points) > beyond and points[-1 - beyond].reaches(enough)
        if is_enough or (len(points) > 2 and points[-1].recall - points[-3].recall < least_gain):
            break
    return points


def refine(points: Sequence[Measurement], measure_next: Measure, target_recall: float) -> list[Measurement]:
    """Add points by halving the step in which recall first reaches the target, down to an eighth."""
    points = list(points)
    while True:
        reached = [at for at, point in enumerate(points) if point.reaches(target_recall)]
        if not reached or reached[0] == 0:
            return points
        (name, low), high = *points[reached[0] - 1].search_args.items(), points[reached[0]].search_args
        middle = (low + high[name]) // 2
        if high[name] - low <= max(1, high[name] // 8):
            return points
        points.insert(reached[0], measure_next({name: middle}))


def choose_point(points: Sequence[Measurement], target_recall: float) -> Measurement:
    """Return the first point that reaches the target, else the first within .001 of the best recall."""
    near_best = max(point.recall for point in points) - CEILING_SLACK
    reached = (point for point in points if point.reaches(target_recall))
    return next(reached, next(point for point in points if point.recall >= near_best))
