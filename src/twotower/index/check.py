"""Check a built index against exact search, and measure its speed and size."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.index.ground_truth import GroundTruth, recall_by_row
from twotower.index.index import Index
from twotower.index.rehearse import find_change_problem, find_copy_problem, save_and_load
from twotower.index.tune import OperatingPoint, batch_rate, latency_ms

NUM_ROUND_TRIP_QUERIES = 64
MIN_BATCH_SECONDS = 0.1
MAX_QUERIES = 1000  # searched exactly


@dataclass(frozen=True)
class IndexReport:
    """The result of `check`.

    Attributes:
        metric: `inner_product`, or the part with another metric.
        round_trip_ok: after saving and loading, rows and search results are the same.
        changes_ok: items can be removed and added, and search results stay correct.
        recall_k: the k of `recall_at_100`: 100, or the number of items where that is less.
        recall_at_100: tie-tolerant recall against exact search, of real queries.
        recall_at_100_by_row: the same with ties counted as misses.
        missing_rate: share of result positions that the search could not fill.
        queries_per_second: of a batch, all threads.
        latency_ms_p50: of one query, one thread.
        latency_ms_p99: of one query, one thread.
        problems: one sentence for each failed check.
        label_difference: metric key -> value with the index minus value with exact search; the caller, which
            has the labels, sets it.
        label_difference_interval: metric key -> [low, high], 95 %, by paired bootstrap over the users.
        shorter: reports for truncated (Matryoshka) embeddings.
    """

    type: str
    factory: str
    build_args: dict[str, int]
    search_args: dict[str, int]
    num_vectors: int
    dim: int
    metric: str
    count_ok: bool
    dim_ok: bool
    metric_ok: bool
    round_trip_ok: bool
    changes_ok: bool
    recall_k: int
    recall_at_100: float
    recall_at_100_by_row: float
    missing_rate: float
    queries_per_second: float
    latency_ms_p50: float
    latency_ms_p99: float
    build_seconds: float
    index_bytes: int
    bytes_per_item: float
    target_recall: float
    min_recall: float
    points: list[OperatingPoint]
    problems: list[str]
    label_difference: dict[str, float] = field(default_factory=dict)
    label_difference_interval: dict[str, list[float]] = field(default_factory=dict)
    shorter: list["IndexReport"] = field(default_factory=list)

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
) -> IndexReport:
    """Compare an index with the vectors it was built from and with exact search over them.

    Args:
        queries: [Q, D] embeddings of users that did not tune the index; at most 1,000 evenly spaced ones are
            used.
        k: number of results; lowered to the number of items.

    Raises:
        InputError: there are no queries.
    """
    if not len(queries):
        raise InputError("queries: expected at least one, got none, so the index cannot be checked")
    queries = queries[np.linspace(0, len(queries) - 1, min(len(queries), MAX_QUERIES)).astype(np.int64)]
    truth = GroundTruth.search(vectors, rows, queries, k)
    if index.dim == vectors.shape[1]:
        found = index.search(queries, truth.k).rows
    else:
        found = np.full((len(queries), truth.k), -1)
        queries = np.zeros((len(queries), index.dim), dtype=np.float32)
    copy, index_bytes = save_and_load(index)
    few = queries[:NUM_ROUND_TRIP_QUERIES]
    copy_problem, change_problem = find_copy_problem(index, copy, few, truth.k), ""
    if index.dim == vectors.shape[1] and not copy_problem:
        change_problem = find_change_problem(copy, vectors, rows, few, truth.k)
    quality: dict[str, Any] = {
        "recall_k": truth.k,
        "recall_at_100": truth.recall(found),
        "recall_at_100_by_row": recall_by_row(found, truth.exact.rows),
        "missing_rate": float((found < 0).mean()),
    }
    checks: dict[str, Any] = {
        "count_ok": np.array_equal(index.rows, np.sort(rows)),
        "dim_ok": index.dim == vectors.shape[1],
        "metric_ok": index.metric == "inner_product",
        "round_trip_ok": not copy_problem,
        "changes_ok": not change_problem,
    }
    p50, p99 = latency_ms(index, queries, truth.k)
    return IndexReport(
        type=index.kind,
        factory=index.factory,
        build_args=index.build_args,
        search_args=index.search_args,
        num_vectors=index.num_vectors,
        dim=index.dim,
        metric=index.metric,
        build_seconds=index.build_seconds,
        target_recall=index.config.target_recall,
        min_recall=index.config.min_recall,
        **checks,
        **quality,
        latency_ms_p50=p50,
        latency_ms_p99=p99,
        queries_per_second=batch_rate(index, queries, truth.k, MIN_BATCH_SECONDS)[1],
        index_bytes=index_bytes,
        bytes_per_item=index_bytes / max(1, index.num_vectors),
        points=points or [],
        problems=_problems(index, vectors, checks, quality, [copy_problem, change_problem]),
    )


def _problems(
    index: Index, vectors: np.ndarray, checks: dict[str, Any], quality: dict[str, Any], others: list[str]
) -> list[str]:
    found = []
    if not checks["count_ok"]:
        found.append(
            f"the index has {index.num_vectors} items, or other rows than the {len(vectors)} items of the"
            " catalogue"
        )
    if not checks["dim_ok"]:
        found.append(f"the index has dimension {index.dim}, the vectors {vectors.shape[1]}")
    if not checks["metric_ok"]:
        found.append(f"the index does not search by inner product: {index.metric}")
    found += filter(None, others)
    if quality["recall_at_100"] < index.config.min_recall:
        found.append(
            f"recall@{quality['recall_k']} against exact search is {quality['recall_at_100']:.4f}, below"
            f" index.min_recall {index.config.min_recall}: raise the search argument, use finer codes, or"
            " lower index.min_recall"
        )
    return found
