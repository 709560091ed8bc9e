"""Measure an index: tune its search argument, check it against exact search."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.index.ground_truth import GroundTruth, SearchResult
from twotower.index.index import Index
from twotower.index.rehearsal import find_copy_problem, find_filter_problem, save_and_load

if TYPE_CHECKING:
    from twotower.index.candidates import IndexChoice

NUM_WARM_UP = 20
NUM_SINGLE = 300  # queries timed one by one after the warm-up
SATURATED = 0.9999
MIN_POINT_SECONDS = 0.03
LEAST_GAIN = 0.0005
"""Gain in recall of two steps below which longer searches are not tried; `tune` does so among many vectors
only, where the last steps take hours."""
SWEPT_WHOLE = 100_000
"""Number of items up to which tuning goes on beyond the target, for the curve of recall and latency."""
CEILING_SLACK = 0.001
"""If no point reaches the target, the fastest point within this distance of the best recall is chosen."""
ONE_SIDED_95 = 1.645
"""Standard errors below a mean of queries at which the lower end of its one-sided 95 % interval is."""
NUM_ROUND_TRIP_QUERIES = 64
MIN_BATCH_SECONDS = 0.1
MAX_QUERIES = 1000  # searched exactly
HALVES_SEED = 0


@dataclass(frozen=True)
class OperatingPoint:
    """Tie-tolerant recall@k and time per query (one thread, in a batch) of one search argument.

    `is_safe`: with 95 % confidence, recall of other queries reaches `min_recall` too.
    """

    search_args: dict[str, int]
    recall: float
    latency_ms: float = 0.0
    queries_per_second: float = 0.0
    is_safe: bool = True

    def reaches(self, target_recall: float) -> bool:
        """Return whether the point is safe and its recall reaches a target."""
        return self.is_safe and self.recall >= target_recall


Measure = Callable[[dict[str, int]], OperatingPoint]
"""Sets a search argument and measures the index with it."""


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
    """Measure search arguments and set the fastest that reaches the index's target recall.

    It must also be safe. The grid ends once recall is saturated, among many vectors at the target. Then
    arguments between the last one below the target and the first one that reaches it are measured. An
    argument that the settings fix is not changed. If no point reaches the target, the fastest point within
    .001 of the best recall is set. `truth` must not contain the queries of `check`.
    """
    given, target_recall = index.search_args, index.config.target_recall
    effort, is_large = 0, len(truth.rows) > SWEPT_WHOLE

    def measure(search_args: dict[str, int]) -> OperatingPoint:
        nonlocal effort
        advance(effort)
        effort += sum(search_args.values())
        index.set_search_args(search_args)
        with single_thread():
            found, rate = batch_rate(index, truth.queries, truth.k, MIN_POINT_SECONDS)
        recalls = truth.recalls(found.rows)
        low = recalls.mean() - ONE_SIDED_95 * recalls.std() / len(recalls) ** 0.5
        is_safe = bool(low >= index.config.min_recall)
        return OperatingPoint(search_args, float(recalls.mean()), 1000 / rate, rate, is_safe)

    enough, least_gain = (target_recall, LEAST_GAIN) if is_large else (max(target_recall, SATURATED), -1.0)
    with Progress("index: tuning", sum(sum(each.values()) for each in search_grid(index))) as advance:
        points = refined(recall_curve(index, measure, enough, least_gain=least_gain), measure, target_recall)
    chosen = given if has_fixed_search(index) else choose_point(points, target_recall).search_args
    index.set_search_args(chosen)
    return points


def has_fixed_search(index: Index) -> bool:
    """Return whether the settings fix the search argument, or there is none."""
    return all(getattr(index.config, name, None) is not None for name in index.search_args)


def measure_recall(index: Index, truth: GroundTruth, search_args: dict[str, int]) -> OperatingPoint:
    """Set a search argument and measure recall alone."""
    index.set_search_args(search_args)
    recall = 1.0 if index.is_exact else truth.recall(index.search(truth.queries, truth.k).rows)
    return OperatingPoint(search_args, recall)


def recall_curve(
    index: Index, measure: Measure, enough: float, beyond: int = 0, least_gain: float = LEAST_GAIN
) -> list[OperatingPoint]:
    """Measure growing search arguments until `beyond` points after enough recall.

    It ends earlier if recall grows by less than `least_gain` in two steps. The last argument stays set.
    """
    points: list[OperatingPoint] = []
    for search_args in search_grid(index):
        points.append(measure(search_args))
        is_enough = len(points) > beyond and points[-1 - beyond].reaches(enough)
        if is_enough or (len(points) > 2 and points[-1].recall - points[-3].recall < least_gain):
            break
    return points


def refined(points: Sequence[OperatingPoint], measure: Measure, target_recall: float) -> list[OperatingPoint]:
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
        points.insert(reached[0], measure({name: middle}))


def choose_point(points: list[OperatingPoint], target_recall: float) -> OperatingPoint:
    """Return the first point that reaches the target, else the first within .001 of the best recall."""
    near_best = max(point.recall for point in points) - CEILING_SLACK
    reached = (point for point in points if point.reaches(target_recall))
    return next(reached, next(point for point in points if point.recall >= near_best))


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


@dataclass(frozen=True)
class IndexReport:
    """The result of `check`."""

    type: str
    factory: str
    build_args: dict[str, int]
    search_args: dict[str, int]
    num_vectors: int
    dim: int
    recall_k: int
    """The k of `recall_at_100`: 100, or the number of items where that is less."""
    recall_at_100: float
    """Tie-tolerant recall against exact search, of real queries."""
    missing_rate: float
    """Share of result positions that the search could not fill."""
    queries_per_second: float
    """Of a batch, all threads."""
    latency_ms_p50: float
    """Of one query, one thread."""
    latency_ms_p99: float
    build_seconds: float
    index_bytes: int
    bytes_per_item: float
    target_recall: float
    min_recall: float
    points: list[OperatingPoint]
    problems: list[str]
    """One sentence for each failed check."""
    label_difference: dict[str, float] = field(default_factory=dict)
    """Metric key -> value with the index minus value with exact search; set by the caller, who has labels."""
    label_difference_interval: dict[str, list[float]] = field(default_factory=dict)
    """Metric key -> [low, high], 95 %, by paired bootstrap over the users."""
    choice: "IndexChoice | None" = None
    """The candidates of `index=auto`, with predicted costs; of the first, those above are the outcome."""
    shorter: list["IndexReport"] = field(default_factory=list)
    """Reports for truncated (Matryoshka) embeddings."""

    @property
    def ok(self) -> bool:
        """Whether every check passed and recall is at least `min_recall`."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with `ok`."""
        return {**asdict(self), "ok": self.ok}


def check(
    index: Index,
    vectors: np.ndarray,
    rows: np.ndarray,
    queries: np.ndarray,
    k: int = 100,
    points: list[OperatingPoint] | None = None,
    choice: "IndexChoice | None" = None,
) -> IndexReport:
    """Compare an index with the vectors it was built from and with exact search over them.

    At most 1,000 evenly spaced queries are used; they must not have tuned the index. They only raise a search
    argument whose recall falls short of `min_recall`. k is lowered to the number of items. Raises InputError
    if there are no queries.

    Args:
        points: what `tune` measured, for the report.
        choice: the candidates, of which the index is the first.
    """
    if not len(queries):
        raise InputError("queries: expected at least one, got none, so the index cannot be checked")
    queries = queries[evenly_spaced(len(queries), MAX_QUERIES)]
    truth = GroundTruth.search(vectors, rows, queries, k)
    found, low_recall = _search_enough(index, truth)
    copy, index_bytes = save_and_load(index), index.num_bytes
    some, metric = queries[:NUM_ROUND_TRIP_QUERIES], index.metric
    has_rows, is_dot = np.array_equal(index.rows, np.sort(rows)), metric == "inner_product"
    content = f"{index.num_vectors} items, or other rows than the {len(vectors)} items of the catalogue"
    problems = [
        "" if has_rows else f"the index has {content}",
        "" if is_dot else f"the index does not search by inner product: {metric}",
        find_copy_problem(index, copy, some, truth.k),
        find_filter_problem(index, some, truth.k),
        low_recall,
        choice.problem if choice else "",
    ]
    p50, p99 = latency_ms(index, queries, truth.k)
    return IndexReport(
        type=index.kind,
        factory=index.factory,
        build_args=index.build_args,
        search_args=index.search_args,
        num_vectors=index.num_vectors,
        dim=index.dim,
        recall_k=truth.k,
        recall_at_100=truth.recall(found),
        missing_rate=float((found < 0).mean()),
        queries_per_second=batch_rate(index, queries, truth.k, MIN_BATCH_SECONDS)[1],
        latency_ms_p50=p50,
        latency_ms_p99=p99,
        build_seconds=index.build_seconds,
        index_bytes=index_bytes,
        bytes_per_item=index_bytes / max(1, index.num_vectors),
        target_recall=index.config.target_recall,
        min_recall=index.config.min_recall,
        points=points or [],
        choice=choice,
        problems=[problem for problem in problems if problem],
    )


def _search_enough(index: Index, truth: GroundTruth) -> tuple[np.ndarray, str]:
    """Return the rows that an index finds, and a sentence if recall is below its `min_recall`.

    Unless the settings fix the search argument, larger ones are tried until recall reaches it. If the largest
    does not, the argument stays as it was.
    """
    given, least, is_fixed = index.search_args, index.config.min_recall, has_fixed_search(index)
    larger = [args for args in search_grid(index) if sum(args.values()) > sum(given.values())]
    results = []
    for search_args in [given] if is_fixed else [given, *larger]:
        index.set_search_args(search_args)
        results.append(index.search(truth.queries, truth.k).rows)
        if truth.recall(results[-1]) >= least:
            return results[-1], ""
    index.set_search_args(given)
    recall, highest = (f"{truth.recall(results[at]):.4f}" for at in (0, -1))
    advice = "".join(f"raise index.{name}, " for name in given) if is_fixed and larger else ""
    largest = f" ({highest} with the largest search argument)" if results[1:] else ""
    return results[0], (
        f"recall@{truth.k} against exact search is {recall}{largest}, below index.min_recall {least}: "
        f"{advice}use finer codes, or lower index.min_recall"
    )


def evenly_spaced(number: int, most: int) -> NDArray[np.int64]:
    """Return distinct positions below a number, at most `most`, from the first to the last."""
    return np.linspace(0, number - 1, min(number, most)).astype(np.int64)


def halves(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the queries [., D] of two random halves of users [Q, D] or, with I interests, [Q, I, D].

    One is to build or choose an index, the other to measure it. A single user is both halves.
    """
    order = np.random.default_rng(HALVES_SEED).permutation(len(queries))
    cut = len(order) // 2
    one, other = queries[order[: max(1, cut)]], queries[order[cut:]]
    return one.reshape(-1, queries.shape[-1]), other.reshape(-1, queries.shape[-1])
