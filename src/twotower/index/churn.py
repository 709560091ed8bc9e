"""Measure an index while its catalogue changes."""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twotower.index.check import (
    evenly_spaced,
    has_fixed_search,
    measure_recall,
    recall_curve,
    save_and_load,
    single_thread,
)
from twotower.index.ground_truth import GroundTruth
from twotower.index.index import Index
from twotower.index.ivf import IVF
from twotower.index.runbook import CatalogueState

KS = (10, 100)
PARTS_SEED = 0
NUM_TIMED = 300
"""Queries that are timed one by one."""
REPEATS = 3
"""Searches of each timed query, of which the fastest counts: other work on the machine is left out."""


@dataclass(frozen=True)
class ChurnPoint:
    """One index after a step; times of one query on one thread.

    Attributes:
        changed: share of the items at the start.
        recall: k -> recall@k against exact search of the live items.
        p99_ratio: p99 divided by that of the index at the start, which was searched in alternation.
        search_args: those of the step.
        change_seconds: of removing and adding.
        balance_seconds: of splitting and dropping cells, and of tuning.
        num_cells: None if the index has no cells, as `imbalance`.
        imbalance: mean size of the cell of an item, divided by the mean size of a cell.
    """

    changed: float
    recall: dict[int, float]
    latency_ms_p50: float
    latency_ms_p99: float
    p99_ratio: float
    search_args: dict[str, int]
    change_seconds: float
    balance_seconds: float
    num_cells: int | None
    imbalance: float | None


@dataclass(frozen=True)
class ChurnRow:
    """One index through all steps; `is_maintained`: balanced and tuned after each."""

    name: str
    is_maintained: bool
    build_seconds: float
    points: list[ChurnPoint]


@dataclass(frozen=True)
class ExactState:
    """Exact results of a state among its live items.

    Attributes:
        fitted: a quarter of the queries [Q, D], which an index fits.
        tuning: results of another quarter.
        test: k -> results of the other half.
    """

    fitted: np.ndarray
    tuning: GroundTruth
    test: Mapping[int, GroundTruth]


def exact_states(vectors: np.ndarray, states: Sequence[CatalogueState]) -> list[ExactState | None]:
    """Return the exact results of each state, None if it is not searched.

    Pairs of queries are divided at random, so that each part has as many that turn with the items as others.
    A query has the same part in all states.
    """
    num_pairs = -(-len(states[0].numbers) // 2)
    parts = np.random.default_rng(PARTS_SEED).permutation(num_pairs) % 4
    return [
        None if state.queries is None else _exact(vectors, state, state.queries, parts[state.numbers // 2])
        for state in states
    ]


def _exact(vectors: np.ndarray, state: CatalogueState, queries: np.ndarray, parts: np.ndarray) -> ExactState:
    live = slice(state.first, state.end)
    whole = GroundTruth.search(vectors[live], np.arange(state.first, state.end), queries, max(KS))
    fitted, tuning, measured = (np.flatnonzero(np.isin(parts, part)) for part in ([0], [2], [1, 3]))
    fitted, measured = (each if len(each) else np.arange(len(queries)) for each in (fitted, measured))
    test = {k: whole.part(k, measured) for k in KS}
    return ExactState(queries[fitted], whole.part(max(KS), tuning if len(tuning) else fitted), test)


def measure_churn(
    name: str,
    config: Index.Config,
    vectors: np.ndarray,
    states: Sequence[CatalogueState],
    exact: Sequence[ExactState | None],
    target_recall: float,
) -> list[ChurnRow]:
    """Build an index of the first state, tune it, and lead it through the others.

    An index with cells gives two rows. One is maintained after each step: its cells are balanced, and its
    search argument is chosen again. The other keeps both.

    Args:
        target_recall: recall at the largest k, which the search argument is chosen for.

    Raises:
        InputError: the settings do not fit the sizes.
    """
    start, first = states[0], exact[0]
    assert first is not None
    vectors_at_start = vectors[: start.end]
    index = config.for_vectors(vectors_at_start, first.fitted).build()
    index.build(vectors_at_start, np.arange(start.end))
    reached = _tune(index, first.tuning, target_recall)
    rows = []
    for is_maintained in (True, False) if isinstance(index, IVF) else (False,):
        changing, points = save_and_load(index), []
        before, change_seconds, balance_seconds = start, 0.0, 0.0
        for state, truth in zip(states, exact, strict=True):
            started = time.perf_counter()
            changing.remove(np.arange(before.first, state.first))
            new = np.arange(before.end, state.end)
            changing.add(vectors[new], new)
            change_seconds += time.perf_counter() - started
            if is_maintained and state is not start:
                started = time.perf_counter()
                live = np.arange(state.first, state.end)
                changing = changing.balanced(vectors[live[0] : state.end], live)
                if truth is not None:
                    _tune(changing, truth.tuning, min(reached, target_recall))
                balance_seconds += time.perf_counter() - started
            before = state
            if truth is not None:
                point = _point(changing, index, truth.test, state.changed, change_seconds, balance_seconds)
                points.append(point)
                change_seconds = balance_seconds = 0.0
        rows.append(ChurnRow(name, is_maintained, index.build_seconds, points))
    return rows


def _tune(index: Index, truth: GroundTruth, target_recall: float) -> float:
    """Set the fastest search argument that reaches the target, or the first after which recall hardly grows.

    A search argument that the settings fix is not changed. Returns the recall.
    """
    measure = functools.partial(measure_recall, index, truth)
    if has_fixed_search(index):
        return measure(index.search_args).recall
    return recall_curve(index, measure, target_recall)[-1].recall


def _point(
    index: Index,
    at_start: Index,
    truths: Mapping[int, GroundTruth],
    changed: float,
    change_seconds: float,
    balance_seconds: float,
) -> ChurnPoint:
    whole = truths[max(KS)]
    found = index.search(whole.queries, whole.k).rows
    now, then = _latencies_ms([index, at_start], whole.queries, whole.k)
    p50, p99 = np.percentile(now, [50, 99])
    sizes = index.cell_sizes if isinstance(index, IVF) else None
    return ChurnPoint(
        changed=changed,
        recall={k: exact.recall(found) for k, exact in truths.items()},
        latency_ms_p50=float(p50),
        latency_ms_p99=float(p99),
        p99_ratio=float(p99 / np.percentile(then, 99)),
        search_args=index.search_args,
        change_seconds=change_seconds,
        balance_seconds=balance_seconds,
        num_cells=None if sizes is None else len(sizes),
        imbalance=None if sizes is None else float(len(sizes) * (sizes**2).sum() / sizes.sum() ** 2),
    )


def _latencies_ms(indexes: Sequence[Index], queries: np.ndarray, k: int) -> np.ndarray:
    """Return the time of each timed query on one thread, [indexes, queries]; indexes are searched in turn."""
    timed = queries[evenly_spaced(len(queries), NUM_TIMED)]
    times = np.empty((len(indexes), len(timed), REPEATS))
    with single_thread():
        for number in range(len(timed)):
            for repeat in range(REPEATS):
                for place, index in enumerate(indexes):
                    started = time.perf_counter()
                    index.search(timed[number : number + 1], k)
                    times[place, number, repeat] = 1000 * (time.perf_counter() - started)
    best: np.ndarray = times.min(axis=2)
    return best
