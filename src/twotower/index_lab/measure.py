"""Measure indexes of one set of vectors side by side."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from twotower.config.errors import InputError
from twotower.index.choice import Measurement
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Chosen
from twotower.index.tune import SATURATED, choose_point, has_fixed_search, latency_ms, measure, recall_curve

KS = (1, 10, 100)
REPEATS = 3
"""Minimum number of searches of each point; the fastest one counts."""
MAX_CHANGED = 1000
"""Items that are added after building, and removed at the end."""


@dataclass(frozen=True)
class LabRow:
    """One index: costs, all points, and the fastest point that reaches the target (else the best)."""

    name: str
    factory: str
    build_seconds: float
    add_ms: float
    """Milliseconds per added item."""
    remove_ms: float
    bytes_per_item: float
    latency_ms_p50: float
    """Of one query on one thread, at the chosen point; as `latency_ms_p99`."""
    latency_ms_p99: float
    chosen: Measurement
    recall_at: dict[int, float]
    """recall@k by k, at the chosen point."""
    reaches_target: bool
    points: list[Measurement]
    spec: dict[str, Any]
    """The settings of the index."""


def exact_results(vectors: np.ndarray, queries: np.ndarray) -> dict[int, GroundTruth]:
    """Return k -> exact results of queries [Q, D] among vectors [N, D], for each k of `KS` up to N.

    Raises:
        InputError: arrays are empty, not finite or of different dimensions.
    """
    if not len(queries):
        raise InputError("queries: expected at least one, got none")
    rows = np.arange(len(vectors))
    truth = GroundTruth.search(vectors, rows, queries, max(KS))
    return {k: truth.part(k) for k in dict.fromkeys(min(k, len(rows)) for k in KS)}


def measure_case(
    name: str, chosen_config: Chosen, truths: Mapping[int, GroundTruth], target_recall: float
) -> LabRow:
    """Build an index, search it with growing search arguments, and change it.

    A search argument that the settings fix is the only one.

    The last items (at most 1,000, and a tenth) are added after building, and removed at the end.

    Args:
        target_recall: of the largest k.

    Raises:
        InputError: the settings do not fit the sizes.
    """
    exact, k = truths[max(truths)], max(truths)
    vectors, rows, queries = exact.vectors, exact.rows, exact.queries
    num_changed = min(MAX_CHANGED, len(rows) // 10)
    kept = len(rows) - num_changed
    index = chosen_config.build()
    index.build(vectors[:kept], rows[:kept])
    started = time.perf_counter()
    index.add(vectors[kept:], rows[kept:])
    add_seconds = time.perf_counter() - started
    measure_next = functools.partial(measure, index, exact, rounds=REPEATS)
    is_fixed = has_fixed_search(index)
    points = [measure_next(index.search_args)] if is_fixed else recall_curve(index, measure_next, SATURATED)
    chosen = choose_point(points, target_recall)
    index.set_search_args(chosen.search_args)
    found = index.search(queries, k).rows
    recall_at = {k: truth.recall(found) for k, truth in truths.items()}
    p50, p99 = latency_ms(index, queries, k)
    num_bytes, factory = index.num_bytes, index.factory
    started = time.perf_counter()
    index.remove(rows[kept:])
    remove_seconds = time.perf_counter() - started
    return LabRow(
        name=name,
        factory=factory,
        build_seconds=index.build_seconds,
        add_ms=1000 * add_seconds / max(1, num_changed),
        remove_ms=1000 * remove_seconds / max(1, num_changed),
        bytes_per_item=num_bytes / len(rows),
        latency_ms_p50=p50,
        latency_ms_p99=p99,
        chosen=chosen,
        recall_at=recall_at,
        reaches_target=chosen.recall >= target_recall,
        points=points,
        spec=chosen_config.config.spec(),
    )
