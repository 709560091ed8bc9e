"""Measure an index while its catalogue changes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from twotower.index.check import evenly_spaced, save_and_load, single_thread, tune
from twotower.index.ground_truth import GroundTruth, SearchResult
from twotower.index.index import Index
from twotower.index.ivf import IVF
from twotower.index.runbook import CatalogueState

KS = (10, 100)
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
        change_seconds: of removing and adding.
        balance_seconds: of splitting and dropping cells.
        num_cells: None if the index has no cells, as `imbalance`.
        imbalance: mean size of the cell of an item, divided by the mean size of a cell.
    """

    changed: float
    recall: dict[int, float]
    latency_ms_p50: float
    latency_ms_p99: float
    p99_ratio: float
    change_seconds: float
    balance_seconds: float
    num_cells: int | None
    imbalance: float | None


@dataclass(frozen=True)
class ChurnRow:
    """One index through all steps; `is_balanced`: its cells were balanced after each."""

    name: str
    is_balanced: bool
    build_seconds: float
    search_args: dict[str, int]
    points: list[ChurnPoint]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


Truths = Mapping[int, GroundTruth]


def exact_states(vectors: np.ndarray, states: Sequence[CatalogueState]) -> list[Truths | None]:
    """Return k -> exact results of each state among its live items; None if it is not searched."""
    truths: list[Truths | None] = []
    for state in states:
        if state.queries is None:
            truths.append(None)
            continue
        live = slice(state.first, state.end)
        whole = GroundTruth.search(vectors[live], np.arange(state.first, state.end), state.queries, max(KS))
        scores, rows = whole.exact
        truths.append({k: replace(whole, exact=SearchResult(scores[:, :k], rows[:, :k])) for k in KS})
    return truths


def measure_churn(
    name: str,
    config: Index.Config,
    vectors: np.ndarray,
    states: Sequence[CatalogueState],
    truths: Sequence[Truths | None],
    target_recall: float,
) -> list[ChurnRow]:
    """Build an index of the first state, tune it, and lead it through the others.

    An index with cells gives two rows: with cells that are balanced after each step, and with those at the
    start.

    Args:
        target_recall: recall at the largest k, which the search argument of all steps is chosen for.

    Raises:
        InputError: the settings do not fit the sizes.
    """
    start, exact = states[0], truths[0]
    assert exact is not None
    recalls = {"target_recall": target_recall, "min_recall": min(config.min_recall, target_recall)}
    config = config.for_size(start.end).model_copy(update=recalls)
    index = config.build()
    index.build(vectors[: start.end], np.arange(start.end))
    tune(index, exact[max(KS)])
    rows = []
    for is_balanced in (True, False) if isinstance(index, IVF) else (False,):
        changing, at_start = save_and_load(index)[0], index
        points = []
        before, change_seconds, balance_seconds = start, 0.0, 0.0
        for state, truth in zip(states, truths, strict=True):
            started = time.perf_counter()
            changing.remove(np.arange(before.first, state.first))
            new = np.arange(before.end, state.end)
            changing.add(vectors[new], new)
            change_seconds += time.perf_counter() - started
            if is_balanced and state is not start:
                started = time.perf_counter()
                live = np.arange(state.first, state.end)
                changing = changing.balanced(vectors[state.first : state.end], live)
                balance_seconds += time.perf_counter() - started
            before = state
            if truth is not None:
                points.append(
                    _point(changing, at_start, truth, state.changed, change_seconds, balance_seconds)
                )
                change_seconds = balance_seconds = 0.0
        rows.append(ChurnRow(name, is_balanced, index.build_seconds, index.search_args, points))
    return rows


def _point(
    index: Index,
    at_start: Index,
    truth: Truths,
    changed: float,
    change_seconds: float,
    balance_seconds: float,
) -> ChurnPoint:
    whole = truth[max(KS)]
    found = index.search(whole.queries, whole.k).rows
    now, then = _latencies_ms([index, at_start], whole.queries, whole.k)
    p50, p99 = np.percentile(now, [50, 99])
    sizes = index.cell_sizes if isinstance(index, IVF) else None
    return ChurnPoint(
        changed=changed,
        recall={k: exact.recall(found) for k, exact in truth.items()},
        latency_ms_p50=float(p50),
        latency_ms_p99=float(p99),
        p99_ratio=float(p99 / np.percentile(then, 99)),
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
