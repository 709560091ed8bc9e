"""What the check found out about an index."""

from dataclasses import asdict, dataclass, field
from typing import Any

from twotower.index.tune import OperatingPoint


@dataclass(frozen=True)
class IndexReport:
    """Everything a run says about its index.

    Attributes:
        type: the concrete kind.
        factory: Faiss's description.
        build_args: with automatic values filled in.
        search_args: in force, tuned or given.
        num_vectors: in the index.
        dim: of the vectors.
        metric: `inner_product`, or what disagrees.
        count_ok: every item is in the index.
        dim_ok: the index has the dimension of the vectors.
        metric_ok: index and quantiser use the inner product.
        round_trip_ok: saved and loaded again, it holds the same rows and answers the same.
        changes_ok: items can be removed and added, and it answers rightly then.
        recall_k: the k of `recall_at_100`: 100, or the number of items where that is less.
        recall_at_100: tie-tolerant recall against exact search, of real queries.
        recall_at_100_by_row: the same with ties counted as misses.
        missing_rate: share of places that the searched cells could not fill.
        queries_per_second: of a batch, all threads.
        latency_ms_p50: of one query, one thread.
        latency_ms_p99: of one query, one thread.
        build_seconds: training and adding.
        index_bytes: size of the saved file.
        bytes_per_item: the same, per vector.
        target_recall: that tuning aimed at.
        min_recall: below which the index is rejected.
        points: the curve of recall against latency.
        problems: one sentence for each failed check.
        label_metric_drop: metric key -> exact value less the index's value; filled in by who has labels.
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
    points: list[OperatingPoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    label_metric_drop: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check held and recall is at least `min_recall`."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON takes them, with `ok`."""
        return {**asdict(self), "ok": self.ok}
