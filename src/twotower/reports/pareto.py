"""What the jobs of a sweep reach and what their indexes cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twotower.runs.outcome import Outcome, lowest_is_best
from twotower.runs.result import BEST_VALID, VALID

INDEX_RECALL = "index/recall_at_100"


@dataclass(frozen=True)
class Point:
    """One job.

    Attributes:
        name: of the job.
        value: of the objective.
        latency_ms: of one query, the median.
        bytes_per_item: of the index.
        higher_is_better: which way the value is.
    """

    name: str
    value: float
    latency_ms: float
    bytes_per_item: float
    higher_is_better: bool = True

    @property
    def merit(self) -> float:
        """Return the value turned so that the larger is the better one."""
        return self.value if self.higher_is_better else -self.value


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
    name = f"{metric.removeprefix(VALID).replace('_at_', '@')} on valid"
    by_index = any(_cost(each, metric) is not None for each in able)
    words = {
        None: f"{name}, {'through the index' if by_index else 'by exact search'}",
        INDEX_RECALL: "recall@100 against exact search",
    }
    higher = not lowest_is_best(able, objective or metric)
    points = []
    for each in able:
        value = served[each.name] if objective is None else each.figure(objective)
        if value is not None:
            latency, size = each.figures["index/latency_ms_p50"], each.figures["index/bytes_per_item"]
            points.append(Point(each.name, value, latency, size, higher))
    return words.get(objective, str(objective)) + ("" if higher else " (lower is better)"), points


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
    return None if value is None else value - (_cost(outcome, metric) or 0.0)


def _cost(outcome: Outcome, metric: str) -> float | None:
    """Return what the index loses of a metric, where that was measured."""
    return outcome.figures.get(f"index/drop_{metric.removeprefix(VALID).removeprefix(BEST_VALID)}")
