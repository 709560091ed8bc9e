"""Choose search arguments that reach a recall target, and draw the curve of recall against latency."""

from dataclasses import dataclass

from twotower.index.exact import Truth
from twotower.index.index import Index
from twotower.index.latency import batch_rate, single_thread

SATURATED = 0.9999
MIN_POINT_SECONDS = 0.03
CEILING_SLACK = 0.001
"""Where codes cannot reach the target, the fastest point this close to their best is taken."""


@dataclass(frozen=True)
class OperatingPoint:
    """One choice of search arguments, measured on one thread.

    Attributes:
        search_args: such as `{"nprobe": 8}`.
        recall: recall@k against exact search, fair to ties.
        latency_ms: per query, in a batch.
    """

    search_args: dict[str, int]
    recall: float
    latency_ms: float
    queries_per_second: float


def search_grid(index: Index) -> list[dict[str, int]]:
    """List search arguments from fastest to most thorough: 1, 2, 3, 4, 6, 8, 12 ... the largest.

    `[{}]` where there is nothing to choose.
    """
    if not index.search_args:
        return [{}]
    largest = index.largest_search_arg
    powers = [2**exponent for exponent in range(largest.bit_length())]
    steps = {largest, *powers, *(3 * power // 2 for power in powers)}
    (name,) = index.search_args
    return [{name: step} for step in sorted(steps) if step <= largest]


def tune(index: Index, truth: Truth) -> list[OperatingPoint]:
    """Measure the grid of search arguments and set the fastest that reaches the index's target recall.

    The sweep ends early once the target is reached and recall is saturated. Arguments that the settings fix
    are kept; the curve is measured all the same. Where no point reaches the target, the fastest within .001
    of the best recall is set.

    Args:
        truth: of held-out queries, not those of the check.

    Returns:
        the measured points, fastest arguments first.
    """
    given, target_recall = index.search_args, index.config.target_recall
    points: list[OperatingPoint] = []
    for search_args in search_grid(index):
        index.set_search_args(search_args)
        with single_thread():
            found, rate = batch_rate(index, truth.queries, truth.k, MIN_POINT_SECONDS)
        recall = truth.recall(found.rows)
        points.append(OperatingPoint(search_args, recall, 1000 / rate, rate))
        if recall >= max(target_recall, SATURATED):
            break
    fixed = all(getattr(index.config, name, None) is not None for name in given)
    index.set_search_args(given if fixed else chosen_point(points, target_recall).search_args)
    return points


def chosen_point(points: list[OperatingPoint], target_recall: float) -> OperatingPoint:
    """Return the first point that reaches the target, or else the best recall less a thousandth."""
    aim = min(target_recall, max(point.recall for point in points) - CEILING_SLACK)
    reached = [point for point in points if point.recall >= target_recall]
    return reached[0] if reached else next(point for point in points if point.recall >= aim)
