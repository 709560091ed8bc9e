"""Pareto fronts of quality against latency and size of the index."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twotower.experiments.runs.higher_is_better import INDEX_COSTS, INDEX_DIFFERENCE
from twotower.experiments.runs.outcome import Outcome, lower_is_better
from twotower.experiments.runs.result import VALID


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
        """Return the value, negated if higher is better, so that lower is better as for the costs."""
        return -self.value if self.higher_is_better else self.value


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
    """Return the points that no other point dominates in value, latency and bytes, the best first."""
    criteria = [(each.rank_value, each.latency_ms, each.bytes_per_item) for each in points]
    return [points[at] for at in front(criteria)]


def front(criteria: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the positions that no other one dominates, in the order of their criteria; lower is better.

    Of equal ones, the first is returned.
    """
    best: list[int] = []
    for at in sorted(range(len(criteria)), key=criteria.__getitem__):
        if not any(all(map(operator.le, criteria[other], criteria[at])) for other in best):
            best.append(at)
    return best
