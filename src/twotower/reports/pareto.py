"""Pareto fronts of quality against latency and size of the index."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twotower.runs.higher_is_better import INDEX_COSTS, INDEX_DIFFERENCE
from twotower.runs.outcome import Outcome, lower_is_better
from twotower.runs.result import VALID


@dataclass(frozen=True)
class Point:
    """One job: objective, median latency of one query, and index bytes per item."""

    name: str
    value: float
    latency_ms: float
    bytes_per_item: float
    higher_is_better: bool = True

    @property
    def rank_value(self) -> float:
        """Return the value, negated if lower is better."""
        return self.value if self.higher_is_better else -self.value


def pareto_points(outcomes: Iterable[Outcome], metric: str) -> tuple[str, list[Point]]:
    """Return a title of the metric, and a point for each job with an index."""
    done = [each for each in outcomes if each.finished and each.figure(INDEX_COSTS[0]) is not None]
    kind, (latency, size) = metric.removeprefix(VALID), INDEX_COSTS
    through = any(f"{INDEX_DIFFERENCE}{kind}" in each.figures for each in done)
    higher = not lower_is_better(done, metric)
    title = f"{kind.replace('_at_', '@')} on valid, {'through the index' if through else 'by exact search'}"
    points = [
        Point(each.name, value, each.figures[latency], each.figures[size], higher)
        for each in done
        if (value := each.served(metric)) is not None
    ]
    return title + ("" if higher else " (lower is better)"), points


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other point dominates in value, latency and bytes."""

    costs = [(-each.rank_value, each.latency_ms, each.bytes_per_item) for each in points]

    def is_dominated(own: tuple[float, ...]) -> bool:
        return any(other != own and all(map(operator.le, other, own)) for other in costs)

    return [point for point, own in zip(points, costs, strict=True) if not is_dominated(own)]


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the positions of the Pareto front of low costs and high values, the cheapest first."""
    best = float("-inf")
    positions = []
    for position in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        if values[position] > best:
            best = values[position]
            positions.append(position)
    return positions
