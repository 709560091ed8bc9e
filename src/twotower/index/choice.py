"""What is measured of an index, and what `index=auto` chooses between."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

Budgets = Mapping[str, float]
"""Attribute of a `Candidate` -> its limit."""


@dataclass(frozen=True)
class Measurement:
    """An index with one search argument. Costs that were not measured are 0.

    Attributes:
        search_args: empty if the index has none.
        recall: tie-tolerant recall@k against exact search.
        latency_ms: time per query on one thread.
        queries_per_second: of a batch on one thread.
        bytes_per_item: size of the file.
        is_safe: whether recall of other queries reaches `min_recall`, too, with 95 % confidence.
    """

    search_args: dict[str, int]
    recall: float
    latency_ms: float = 0.0
    queries_per_second: float = 0.0
    bytes_per_item: float = 0.0
    is_safe: bool | None = None

    def reaches(self, target_recall: float) -> bool:
        """Return whether recall reaches a target, and is not known to be unsafe."""
        return self.is_safe is not False and self.recall >= target_recall


@dataclass(frozen=True, kw_only=True)
class Candidate(Measurement):
    """The costs of one index of all items, predicted from a sample.

    Attributes:
        latency_ms: median of one query.
        points: the search arguments that were tried, with predicted recall.
        build_seconds: of all steps but k-means, whose clusters come from the sample.
        label_difference: recall@k of targets through the index minus by exact search; None: no targets.
        label_difference_interval: low and high, 95 %.
        label_loss: the same as a share of the recall of exact search.
    """

    kind: str
    spec: dict[str, Any]
    build_seconds: float
    points: list[Measurement]
    label_difference: float | None = None
    label_difference_interval: tuple[float, float] = (0.0, 0.0)
    label_loss: float = 0.0

    @property
    def name(self) -> str:
        """The kind with its build and search arguments."""
        shown_keys = ("nlist", "num_subquantizers", "num_candidates")
        given = {name: self.spec[name] for name in shown_keys if self.spec.get(name)}
        if self.spec.get("fit_queries") is False:
            given["fit_queries"] = False
        return " ".join([self.kind, *(f"{key}={value}" for key, value in (given | self.search_args).items())])

    def excess(self, budgets: Budgets) -> float:
        """Return the largest ratio of a cost and its limit; 0 without limits."""
        return max((getattr(self, name) / limit for name, limit in budgets.items()), default=0.0)

    def order(self, target: float, budgets: Budgets) -> tuple[float, float, float]:
        """Return a key that sorts the best candidate first.

        Candidates within the budgets come first, then candidates that reach the target, then the fastest.
        Candidates below the target are ordered by recall, candidates beyond a budget by the excess.
        """
        excess = self.excess(budgets)
        miss = 0.0 if self.recall >= target else 1 - self.recall
        return excess if excess > 1 else 0.0, miss, -self.queries_per_second


@dataclass(frozen=True)
class IndexChoice:
    """The candidates, the best first.

    Attributes:
        num_sampled: items that they were built from.
        seconds: duration of all measurements.
        problem: why no candidate is within the budgets; "" if one is.
    """

    num_sampled: int
    seconds: float
    target_recall: float
    candidates: list[Candidate]
    problem: str

    @classmethod
    def of(
        cls,
        candidates: Sequence[Candidate],
        num_sampled: int,
        seconds: float,
        target: float,
        budgets: Budgets,
    ) -> Self:
        """Order candidates by `Candidate.order`."""
        ordered = sorted(candidates, key=lambda each: each.order(target, budgets))
        problem = ""
        if ordered[0].excess(budgets) > 1:
            least = {cost: min(candidates, key=operator.attrgetter(cost)) for cost in budgets}
            costs = "; ".join(
                f"index.max_{cost}={limit:g}, at least {getattr(least[cost], cost):.4g} ({least[cost].name})"
                for cost, limit in budgets.items()
            )
            problem = f"no candidate of index=auto is within its limits: {costs}"
        return cls(num_sampled, seconds, target, ordered, problem)
