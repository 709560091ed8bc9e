"""What the jobs of a sweep reach and what their indexes cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twotower.runs.outcome import Outcome, lowest_is_best
from twotower.runs.result import VALID

INDEX_RECALL = "index/recall_at_100"


@dataclass(frozen=True)
class Point:
    """One job: its objective's value, the median latency of one query and what an item takes in the index."""

    name: str
    value: float
    latency_ms: float
    bytes_per_item: float
    higher_is_better: bool = True

    @property
    def merit(self) -> float:
        """Return the value turned so that the larger is the better one."""
        return self.value if self.higher_is_better else -self.value


def points_of(outcomes: Iterable[Outcome], metric: str) -> tuple[str, list[Point]]:
    """Return what is compared, in words, and a point for each job that has an index.

    That is the index's recall where all jobs have the same towers, and else the metric as it is through the
    index: the best checkpoint's less what the index costs.
    """
    able = [each for each in outcomes if each.finished and each.figure("index/latency_ms_p50") is not None]
    same_towers = len({each.figure(metric) for each in able}) <= 1
    drop = f"index/drop_{metric.removeprefix(VALID)}"
    words = "recall@100 against exact search"
    if not same_towers:
        through = any(drop in each.figures for each in able)
        name = f"{metric.removeprefix(VALID).replace('_at_', '@')} on valid"
        words = f"{name}, {'through the index' if through else 'by exact search'}"
    higher = same_towers or not lowest_is_best(able, metric)
    points = []
    for each in able:
        value = each.figure(INDEX_RECALL if same_towers else metric)
        if value is not None:
            served = value if same_towers else value - each.figures.get(drop, 0.0)
            latency, size = each.figures["index/latency_ms_p50"], each.figures["index/bytes_per_item"]
            points.append(Point(each.name, served, latency, size, higher))
    return words + ("" if higher else " (lower is better)"), points


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the positions of the points that no other beats in cost (low) and value, cheapest first."""
    best = float("-inf")
    kept = []
    for position in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        if values[position] > best:
            best = values[position]
            kept.append(position)
    return kept
