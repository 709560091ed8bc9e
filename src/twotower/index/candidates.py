"""Predict from a sample of the items what indexes of all of them cost, and choose one.

A sample of n of N items is divided into as many cells as all items would be. Of the 100 best items of a
query, the sample has 100 n / N in the mean, so recall is measured at that k. Times and bytes are measured
with half of the sample and with all of it, and grow linearly from there on.

Shapes: N items, n of a sample, Q queries, D embedding.
"""

import functools
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

import numpy as np

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.index.centroids import count_found, find_centroids
from twotower.index.check import (
    MAX_QUERIES,
    SATURATED,
    choose_point,
    evenly_spaced,
    halves,
    measure_recall,
    recall_curve,
    refined,
    single_thread,
)
from twotower.index.ground_truth import RECALL_K, GroundTruth, k_of_sample
from twotower.index.index import Chosen, Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.hnsw_sq import HNSWSQ
from twotower.index.kinds.ivf import IVF, POINTS_PER_CENTROID, automatic_nlist
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.kinds.ivf_pq import IVFPQ
from twotower.index.kinds.ivf_pq_fastscan import IVFPQFastScan
from twotower.index.kinds.ivf_rabitq import IVFRaBitQ
from twotower.index.kinds.ivf_sq import IVFSQ
from twotower.index.label_lists import LabelLists
from twotower.index.rehearsal import save_and_load

REPEATS, NUM_ALONE, FEW_QUERIES, SEED = 5, 200, 50, 0

Settings = tuple[type[Index], dict[str, Any]]
Budgets = Mapping[str, float]
"""Attribute of a `Candidate` -> its limit."""


@dataclass(frozen=True)
class Candidate:
    """The costs of one index of all items, predicted from a sample.

    Attributes:
        points: predicted recall of each search argument that was tried.
        queries_per_second: of a batch on one thread.
        build_seconds: of all but finding the cells, which are those of the sample.
        latency_ms: median of one query on one thread.
        label_difference: recall@k of targets through the index minus that of exact search; None: no targets.
        label_difference_interval: low and high, 95 %.
        label_loss: the same as a share of the recall of exact search.
    """

    kind: str
    spec: dict[str, Any]
    search_args: dict[str, int]
    recall: float
    queries_per_second: float
    latency_ms: float
    bytes_per_item: float
    build_seconds: float
    points: list[tuple[dict[str, int], float]]
    label_difference: float | None = None
    label_difference_interval: tuple[float, float] = (0.0, 0.0)
    label_loss: float = 0.0

    @property
    def name(self) -> str:
        """The kind with its build and search arguments."""
        named = ("nlist", "num_subquantizers", "num_candidates")
        given = {name: self.spec[name] for name in named if self.spec.get(name)}
        if self.spec.get("fit_queries") is False:
            given["fit_queries"] = False
        return " ".join(
            [self.kind, *(f"{name}={value}" for name, value in (given | self.search_args).items())]
        )

    def excess(self, budgets: Budgets) -> float:
        """Return the largest ratio of a cost and its limit; 0 without limits."""
        return max((getattr(self, name) / limit for name, limit in budgets.items()), default=0.0)

    def order(self, target: float, budgets: Budgets) -> tuple[float, float, float]:
        """Return a key that sorts the best candidate first.

        Candidates within the budgets come first, then those that reach the target, then the fastest. Those
        that miss the target are ordered by recall, those beyond a budget by how far.
        """
        excess = self.excess(budgets)
        return (
            excess if excess > 1 else 0.0,
            0.0 if self.recall >= target else 1 - self.recall,
            -self.queries_per_second,
        )


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


def kinds_to_try(dim: int) -> Mapping[str, list[Settings]]:
    """Return kind -> settings to try, without a number of cells."""
    codes = sorted({parts for parts in (dim // 2, dim // 4, dim // 8) if parts and dim % parts == 0}) or [dim]
    return {
        "flat_ip": [(FlatIP, {})],
        "ivf_sq": [(IVFSQ, {})],
        "ivf_flat": [(IVFFlat, {})],
        "ivf_pq": [(IVFPQ, {"num_subquantizers": parts}) for parts in codes],
        "ivf_pq_fastscan": [(IVFPQFastScan, {"num_candidates": number}) for number in (2, 8)],
        "ivf_rabitq": [(IVFRaBitQ, {})],
        "hnsw": [(HNSW, {})],
        "hnsw_sq": [(HNSWSQ, {})],
    }


def numbers_of_cells(num_items: int) -> list[int]:
    """Return half, once and twice the usual number of cells."""
    usual = automatic_nlist(num_items)
    most = max(1, num_items // POINTS_PER_CENTROID)
    return sorted({max(1, usual // 2), usual, min(2 * usual, most)})


def measure_candidates(
    configs: Sequence[Index.Config],
    vectors: np.ndarray,
    queries: np.ndarray,
    num_sampled: int,
    target_recall: float,
    budgets: Budgets,
    labels: LabelLists | None = None,
) -> Chosen:
    """Build candidates from evenly spaced items and predict their costs for all of them.

    The first kind in cells is tried with several numbers of cells, which fit the queries or the items alone,
    and the others with the best of these; if another kind is best, it is tried with the other cells, too. The
    best two are timed again in turn.

    Args:
        configs: settings without a number of cells; those that do not fit the vectors are left out.
        num_sampled: at least as many as the cells need are taken.
        labels: targets in the exact lists of users, of which a candidate can lose some.

    Raises:
        InputError: no settings fit.
    """
    started, (num_items, dim) = time.perf_counter(), vectors.shape
    fitting = [config for config in configs if not config.size_problems(dim, num_items)]
    if not fitting:
        first = configs[0].size_problems(dim, num_items)[0][1]
        raise InputError(f"index.candidates: none fits {num_items:,} vectors of dimension {dim} ({first})")
    numbers = numbers_of_cells(num_items)
    sample = _Sample.draw(vectors, queries, max(num_sampled, POINTS_PER_CENTROID * numbers[-1]), labels)
    trials = _Trials(sample, target_recall, budgets)
    cells = [{"nlist": nlist, "fit_queries": fits} for nlist, fits in product(numbers, (True, False))]
    first_in_cells = next((config for config in fitting if isinstance(config, IVF.Config)), None)
    with Progress("index: measuring candidates", len(fitting)) as advance:
        for number, config in enumerate(fitting):
            advance(number)
            if not isinstance(config, IVF.Config):
                trials.add(config, [{}])
            else:
                trials.add(config, cells if config is first_in_cells else [trials.best_cells])
        best = trials.best[0]
        if isinstance(best.given, IVF.Config) and best.given is not first_in_cells:
            trials.add(best.given, [each for each in cells if each != trials.best_cells])
    trials.time_again()
    seconds = time.perf_counter() - started
    found = IndexChoice.of(trials.candidates, sample.size, seconds, target_recall, budgets)
    config = Index.Config.model_validate(found.candidates[0].spec)
    return Chosen(config, found, trials.centroids.get(_cells_of(config)))


@dataclass(frozen=True)
class _Sample:
    """Some items in random order, with the exact results of the queries among them.

    Attributes:
        num_found: how often queries find each item [n], which the cells fit; those of `truth` are others.
        num_items: number of all items.
        labels: targets in lists of items, at `list_rows` of the sample and of `added` after it.
    """

    truth: GroundTruth
    num_found: np.ndarray
    num_items: int
    labels: LabelLists | None
    list_rows: np.ndarray
    added: np.ndarray

    @classmethod
    def draw(cls, vectors: np.ndarray, queries: np.ndarray, size: int, labels: LabelLists | None) -> Self:
        """Take evenly spaced items and queries."""
        num_items = len(vectors)
        size = min(size, num_items)
        positions = evenly_spaced(num_items, size)
        order = np.random.default_rng(SEED).permutation(size)
        taken = vectors[positions][order]
        fitted, asked = halves(queries)
        k = k_of_sample(size, num_items)
        truth = GroundTruth.search(taken, np.arange(size), asked[:MAX_QUERIES], k)
        num_found = count_found(truth.vectors, fitted, num_items)
        if labels is None:
            return cls(truth, num_found, num_items, None, positions[:0], taken[:0])
        others = np.setdiff1d(labels.items, np.append(positions, -1))
        rows = np.full(num_items + 1, -1)  # the last one for position -1
        rows[np.concatenate([positions[order], others])] = np.arange(size + len(others))
        return cls(truth, num_found, num_items, labels, rows[labels.items], vectors[others])

    @property
    def vectors(self) -> np.ndarray:
        """The vectors of the sample [n, D]."""
        return self.truth.vectors

    @property
    def size(self) -> int:
        """Number of items in the sample."""
        return len(self.vectors)

    def extended(self, at_half: float, at_size: float) -> float:
        """Return a cost of all items from that of the first half of the sample and of the whole sample."""
        slope = max(0.0, at_size - at_half) / max(1, self.size - self.size // 2)
        return at_size + slope * (self.num_items - self.size)

    def label_difference(self, index: Index) -> tuple[float | None, tuple[float, float]]:
        """Return what an index of the sample, with the items of the lists added, costs on labels."""
        if self.labels is None:
            return None, (0.0, 0.0)
        if len(self.added):
            index = save_and_load(index)  # the index itself is timed again
            index.add(self.added, self.size + np.arange(len(self.added)))
        return self.labels.difference(index, self.list_rows)


@dataclass
class _Trial:
    """A candidate with its indexes of half of the sample and of all of it, which may be the same.

    Attributes:
        given: its settings without those of its cells.
    """

    given: Index.Config
    candidate: Candidate
    small: Index
    large: Index


class _Trials:
    """Measured candidates, of which the best two keep their indexes, and the centroids that were tried."""

    def __init__(self, sample: _Sample, target: float, budgets: Budgets) -> None:
        self.sample, self.target, self.budgets = sample, target, budgets
        self.centroids: dict[tuple[Any, ...], np.ndarray] = {}
        self.best: list[_Trial] = []
        self.candidates: list[Candidate] = []

    def add(self, config: Index.Config, cells: Sequence[Mapping[str, Any]]) -> None:
        """Build and measure a candidate for each settings of cells."""
        for update in cells:
            trial = self._predict(config, config.model_copy(update=dict(update)))
            self.candidates.append(trial.candidate)
            self.best = sorted([*self.best, trial], key=lambda each: self._order(each.candidate))[:2]

    @property
    def best_cells(self) -> dict[str, Any]:
        """Settings of the cells of the best candidate that has cells."""
        spec = min((each for each in self.candidates if "nlist" in each.spec), key=self._order).spec
        return {name: spec[name] for name in ("nlist", "fit_queries")}

    def time_again(self) -> None:
        """Time the best two in turn, as the speed of a machine changes within seconds."""
        again = _times([(trial.small, trial.large) for trial in self.best], self.sample)
        for trial, (rate, latency) in zip(self.best, again, strict=True):
            timed = replace(trial.candidate, queries_per_second=rate, latency_ms=latency)
            self.candidates[self.candidates.index(trial.candidate)] = timed

    def _order(self, candidate: Candidate) -> tuple[float, float, float]:
        return candidate.order(self.target, self.budgets)

    def _predict(self, given: Index.Config, config: Index.Config) -> _Trial:
        sample, cells = self.sample, _cells_of(config)
        if isinstance(config, IVF.Config) and cells not in self.centroids:
            num_found = sample.num_found if config.fit_queries else None
            self.centroids[cells] = find_centroids(sample.vectors, cells[0], num_found)

        def build(number: int) -> Index:
            index = config.build()
            index.centroids = self.centroids.get(cells)
            index.build(sample.vectors[:number], np.arange(number))
            return index

        large = build(sample.size)
        small = build(sample.size // 2) if sample.size < sample.num_items else large
        measure = functools.partial(measure_recall, large, sample.truth)
        points = recall_curve(large, measure, min(self.target, SATURATED), beyond=1)
        points = refined(points, measure, self.target)
        chosen = choose_point(points, self.target)
        for index in (small, large):
            index.set_search_args(chosen.search_args)
        ((rate, latency),) = _times([(small, large)], sample)
        num_bytes = sample.extended(small.num_bytes, large.num_bytes)
        difference, interval = sample.label_difference(large)
        exact = sample.labels.recall if sample.labels else 0.0
        candidate = Candidate(
            kind=large.kind,
            spec=config.spec(),
            search_args=chosen.search_args,
            recall=chosen.recall,
            queries_per_second=rate,
            latency_ms=latency,
            bytes_per_item=num_bytes / sample.num_items,
            build_seconds=sample.extended(small.build_seconds, large.build_seconds),
            points=[(point.search_args, point.recall) for point in points],
            label_difference=difference,
            label_difference_interval=interval,
            label_loss=-(difference or 0.0) / exact if exact else 0.0,
        )
        return _Trial(given, candidate, small, large)


def _cells_of(config: Index.Config) -> tuple[Any, ...]:
    return getattr(config, "nlist", None) or 1, getattr(config, "fit_queries", False)


def _times(pairs: Sequence[tuple[Index, Index]], sample: _Sample) -> list[tuple[float, float]]:
    """Return queries per second, and milliseconds of one query, of all items; indexes are timed in turn.

    Args:
        pairs: indexes of half of the sample and of all of it.
    """
    k, queries = min(RECALL_K, max(1, sample.size // 2)), sample.truth.queries
    times: list[list[list[float]]] = [[] for _ in pairs]
    with single_thread():
        for _ in range(REPEATS):
            for found, pair in zip(times, pairs, strict=True):
                asked = queries[: FEW_QUERIES if pair[1].is_exact else None]
                found.append([_seconds(index, asked, k) for index in pair])
        alone = [[_seconds(large, query[None], k) for query in queries[:NUM_ALONE]] for _, large in pairs]
    costs = []
    for found, singles in zip(times, alone, strict=True):
        at_small, at_large = map(min, zip(*found, strict=True))
        seconds = sample.extended(at_small, at_large)
        costs.append((1 / seconds, 1000 * (float(np.median(singles)) + seconds - at_large)))
    return costs


def _seconds(index: Index, queries: np.ndarray, k: int) -> float:
    """Return processor time per query of a batch; other work on the machine changes it little."""
    started = time.thread_time()
    index.search(queries, k)
    return (time.thread_time() - started) / len(queries)
