"""Check an index against the vectors that it was built from, and against exact search."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.index.choice import IndexChoice, Measurement
from twotower.index.ground_truth import GroundTruth, evenly_spaced
from twotower.index.index import Index
from twotower.index.rehearsal import find_copy_problem, find_filter_problem, save_and_load
from twotower.index.tune import has_fixed_search, latency_ms, search_grid, time_searches

NUM_ROUND_TRIP_QUERIES = 64
MIN_BATCH_SECONDS = 0.1
MAX_QUERIES = 1000  # searched exactly


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
    points: list[Measurement]
    problems: list[str]
    """One sentence for each failed check."""
    label_difference: dict[str, float] = field(default_factory=dict)
    """Metric key -> value with the index minus value with exact search; set by the caller, who has labels."""
    label_difference_interval: dict[str, list[float]] = field(default_factory=dict)
    """Metric key -> [low, high], 95 %, by paired bootstrap over the users."""
    choice: IndexChoice | None = None
    """The candidates of `index=auto`, with predicted costs; of the first, those above are the outcome."""
    shorter: list["IndexReport"] = field(default_factory=list)
    """Reports for truncated (Matryoshka) embeddings."""

    @property
    def ok(self) -> bool:
        """Whether every check passed and recall is at least `min_recall`."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with `ok`; costs that were not measured are left out."""
        values = asdict(self, dict_factory=_measured_values) | {"ok": self.ok}
        for candidate in values["choice"]["candidates"] if self.choice else []:
            candidate["points"] = [(point["search_args"], point["recall"]) for point in candidate["points"]]
        return values


def check(
    index: Index,
    vectors: np.ndarray,
    rows: np.ndarray,
    queries: np.ndarray,
    k: int = 100,
    points: list[Measurement] | None = None,
    choice: IndexChoice | None = None,
) -> IndexReport:
    """Compare an index with the vectors it was built from and with exact search over them.

    At most 1,000 evenly spaced queries are used; they must not have tuned the index. They only raise a search
    argument whose recall falls short of `min_recall`. k is lowered to the number of items. Raises InputError
    if there are no queries.

    Args:
        points: what `tune` measured, for the report.
        choice: the candidates; the first is the index.
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
        ""
        if is_dot
        else f"the index does not search by inner product: {metric}, expected METRIC_INNER_PRODUCT",
        find_copy_problem(index, copy, some, truth.k),
        find_filter_problem(index, some, truth.k),
        low_recall if is_dot else "",
        choice.problem if choice else "",
    ]
    p50, p99 = latency_ms(index, queries, truth.k)
    batches, _ = time_searches([(index, queries)], truth.k, min_seconds=MIN_BATCH_SECONDS, all_threads=True)
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
        queries_per_second=float(1 / batches.mean()),
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


def _measured_values(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the attributes of a data class without costs of a `Measurement` that were not measured."""
    costs = ("latency_ms", "queries_per_second", "bytes_per_item", "is_safe")
    return {
        key: value for key, value in items if key not in costs or value not in (None, 0.0) or value is False
    }
