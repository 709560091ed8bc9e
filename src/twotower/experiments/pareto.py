"""What the jobs of a sweep reach and what their indexes cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twotower.experiments.outcome import BEST_VALID, VALID, Outcome

INDEX_RECALL = "index/recall_at_100"


@dataclass(frozen=True)
class Point:
    """One job.

    Attributes:
        name: of the job.
        value: of the objective; the higher the better.
        latency_ms: of one query, the median.
        bytes_per_item: of the index.
    """

    name: str
    value: float
    latency_ms: float
    bytes_per_item: float


def points_of(
    outcomes: Iterable[Outcome], metric: str, objective: str | None = None
) -> tuple[str, list[Point]]:
    """Return what is compared, in words, and a point for each job that has an index.

    Args:
        outcomes: of a sweep.
        metric: of the validation split, e.g. `valid/recall_at_20`.
        objective: a figure's name. By default the index's recall where all jobs have the same towers, and
            else the metric as it is through the index: the best checkpoint's less what the index costs.
    """
    able = [each for each in outcomes if each.finished and each.figure("index/latency_ms_p50") is not None]
    served = {each.name: _served(each, metric) for each in able}
    if objective is None and len({each.figure(metric) for each in able}) <= 1:
        objective = INDEX_RECALL
    words = {
        None: f"{metric.removeprefix(VALID).replace('_at_', '@')} on valid, through the index",
        INDEX_RECALL: "recall@100 against exact search",
    }
    points = []
    for each in able:
        value = served[each.name] if objective is None else each.figure(objective)
        if value is not None:
            latency, size = each.figures["index/latency_ms_p50"], each.figures["index/bytes_per_item"]
            points.append(Point(each.name, value, latency, size))
    return words.get(objective, str(objective)), points


def front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the positions of the points that no other beats in both, from the cheapest on.

    Args:
        costs: the lower the better.
        values: the higher the better.
    """
    best = float("-inf")
    kept = []
    for position in sorted(range(len(costs)), key=lambda i: (costs[i], -values[i])):
        if values[position] > best:
            best = values[position]
            kept.append(position)
    return kept


def _served(outcome: Outcome, metric: str) -> float | None:
    value = outcome.figure(metric)
    cost = outcome.figures.get(f"index/drop_{metric.removeprefix(VALID).removeprefix(BEST_VALID)}")
    return None if value is None else value - (cost or 0.0)
