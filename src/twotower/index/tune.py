"""Choose search arguments that reach a recall target, and draw the curve of recall against latency."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twotower.index.exact import Truth, recall_by_row
from twotower.index.index import Index
from twotower.index.latency import batch_rate
from twotower.index.threads import single_thread

SATURATED = 0.9999
MIN_POINT_SECONDS = 0.03
CEILING_SLACK = 0.001
"""Where codes cannot reach the target, the fastest point this close to their best is taken."""


@dataclass(frozen=True)
class OperatingPoint:
    """One choice of search arguments, measured on one thread.

    Attributes:
        search_args: such as `{"nprobe": 8}`.
        recall: recall@k against exact search.
        latency_ms: per query, in a batch.
        queries_per_second: the same, inverted.
    """

    search_args: dict[str, int]
    recall: float
    latency_ms: float
    queries_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def tune(
    index: Index,
    queries: np.ndarray,
    exact_rows: np.ndarray,
    k: int,
    target_recall: float,
    *,
    truth: Truth | None = None,
) -> list[OperatingPoint]:
    """Measure the index's grid of search arguments and set the fastest that reaches the target.

    The sweep ends early once the target is reached and recall is saturated. Arguments that the configuration
    fixed are kept; the curve is measured all the same.

    Args:
        index: built.
        queries: [Q, D] held-out queries, not those of the check.
        exact_rows: [Q, K] results of exact search for them.
        k: at most K.
        target_recall: where no point reaches it, the fastest within .001 of the best recall is set.
        truth: of the same queries and k, makes recall fair to ties; without it rows must be equal.

    Returns:
        the measured points, fastest arguments first.
    """
    given = dict(index.search_args)
    k = min(k, exact_rows.shape[1])
    points: list[OperatingPoint] = []
    for search_args in index.search_grid():
        index.set_search_args(search_args)
        with single_thread():
            found, rate = batch_rate(index, queries, k, MIN_POINT_SECONDS)
        recall = truth.recall(found.rows) if truth else recall_by_row(found.rows, exact_rows[:, :k])
        points.append(OperatingPoint(dict(search_args), recall, 1000 / rate, rate))
        if recall >= max(target_recall, SATURATED):
            break
    index.set_search_args(
        given if index.search_args_given else chosen_point(points, target_recall).search_args
    )
    return points


def chosen_point(points: list[OperatingPoint], target_recall: float) -> OperatingPoint:
    """Return the first point that reaches the target, or else the best recall less a thousandth."""
    aim = min(target_recall, max(point.recall for point in points) - CEILING_SLACK)
    reached = [point for point in points if point.recall >= target_recall]
    return reached[0] if reached else next(point for point in points if point.recall >= aim)
