"""Check that a built index deserves trust, and measure what it costs."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError
from twotower.config.spec import build
from twotower.index.exact import Truth, exact_search, recall_by_row
from twotower.index.index import Index
from twotower.index.latency import measure_latency
from twotower.index.rehearse_changes import problem_of_changes
from twotower.index.report import IndexReport
from twotower.index.tune import OperatingPoint

__all__ = ["IndexReport", "check", "exact_search"]

NUM_ROUND_TRIP_QUERIES = 64


def check(
    index: Index,
    vectors: np.ndarray,
    rows: np.ndarray,
    queries: np.ndarray,
    k: int = 100,
    *,
    points: list[OperatingPoint] | None = None,
    max_queries: int = 1000,
) -> IndexReport:
    """Compare an index with the vectors it was built from and with exact search over them.

    Args:
        index: built, with its search arguments chosen.
        vectors: [N, D] the catalogue.
        rows: [N] its rows.
        queries: [Q, D] embeddings of real users, other than those of tuning; evenly thinned to `max_queries`.
        k: lowered to N.
        points: what tuning measured, to be kept in the report.
        max_queries: how many queries exact search is run for.

    Raises:
        InputError: there is no query.
    """
    if not len(queries):
        raise InputError("queries: there are none, so the index cannot be checked")
    queries = queries[np.linspace(0, len(queries) - 1, min(len(queries), max_queries)).astype(np.int64)]
    quality = _quality(index, vectors, rows, queries, k)
    if index.dim != queries.shape[1]:
        queries = np.zeros((len(queries), index.dim), dtype=np.float32)
    latency = measure_latency(index, queries, quality.recall_k)
    index_bytes, round_trip_problem, changes_problem = _life(index, vectors, rows, queries, quality.recall_k)
    facts = _Facts(
        count_ok=np.array_equal(index.rows, np.sort(rows)),
        dim_ok=index.dim == vectors.shape[1],
        metric_ok=index.metric == "inner_product",
        round_trip_ok=not round_trip_problem,
        changes_ok=not changes_problem,
    )
    return IndexReport(
        type=index.kind,
        factory=index.factory,
        build_args=index.build_args,
        search_args=index.search_args,
        num_vectors=index.num_vectors,
        dim=index.dim,
        metric=index.metric,
        **asdict(facts),
        **asdict(quality),
        **asdict(latency),
        build_seconds=index.build_seconds,
        index_bytes=index_bytes,
        bytes_per_item=index_bytes / max(1, index.num_vectors),
        target_recall=index.target_recall,
        min_recall=index.min_recall,
        points=points or [],
        problems=_problems(index, vectors, facts, quality, [round_trip_problem, changes_problem]),
    )


@dataclass(frozen=True)
class _Facts:
    count_ok: bool
    dim_ok: bool
    metric_ok: bool
    round_trip_ok: bool
    changes_ok: bool


@dataclass(frozen=True)
class _Quality:
    recall_k: int
    recall_at_100: float
    recall_at_100_by_row: float
    missing_rate: float


def _quality(index: Index, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int) -> _Quality:
    """Compare search results with exact ones; an index of another dimension finds nothing."""
    truth = Truth.of(vectors, rows, queries, k)
    if index.dim != queries.shape[1]:
        return _Quality(truth.k, 0.0, 0.0, 1.0)
    found = index.search(queries, truth.k).rows
    return _Quality(
        recall_k=truth.k,
        recall_at_100=truth.recall(found),
        recall_at_100_by_row=recall_by_row(found, truth.exact.rows),
        missing_rate=float((found < 0).mean()),
    )


def _life(
    index: Index, vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int
) -> tuple[int, str, str]:
    """Save and load an index, and change the copy. Returns the size of the file and what went wrong."""
    queries = queries[:NUM_ROUND_TRIP_QUERIES]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        index.save(path)
        index_bytes = path.stat().st_size
        loaded = build(index.spec(), Index)
        loaded.load(path)
    if not np.array_equal(loaded.rows, index.rows):
        return index_bytes, "after saving and loading, the index holds other rows", ""
    before, after = index.search(queries, k), loaded.search(queries, k)
    if not (np.array_equal(before.rows, after.rows) and np.array_equal(before.scores, after.scores)):
        return index_bytes, "after saving and loading, the index answers otherwise", ""
    comparable = index.dim == vectors.shape[1]
    return index_bytes, "", problem_of_changes(loaded, vectors, rows, queries, k) if comparable else ""


def _problems(
    index: Index, vectors: np.ndarray, facts: _Facts, quality: _Quality, others: list[str]
) -> list[str]:
    """Say in a sentence each what failed."""
    found = []
    if not facts.count_ok:
        found.append(
            f"the index holds {index.num_vectors} items, other than the {len(vectors)} of the catalogue"
        )
    if not facts.dim_ok:
        found.append(f"the index has dimension {index.dim}, the vectors {vectors.shape[1]}")
    if not facts.metric_ok:
        found.append(f"the index does not search by inner product: {index.metric}")
    found += filter(None, others)
    if quality.recall_at_100 < index.min_recall:
        found.append(
            f"recall@{quality.recall_k} against exact search is {quality.recall_at_100:.4f}, below"
            f" index.min_recall {index.min_recall}: search more thoroughly, choose finer codes, or lower it"
        )
    return found
