"""Recall and query time of an index while its catalogue changes, maintained and with its clusters as built.

An index is built from 85 % of the items in a random order. Each of six steps inserts and deletes 1 % of them
and replaces 4 %, the oldest first. New vectors of step t are rotated by 5 t degrees, and then moved by a
share of the way to one item that users like. Every second query is rotated, too: users follow the items.
Reference: Simhadri et al., "Results of the Big ANN: NeurIPS'23 competition", section 3 (streaming).
"""

import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from record import Figures, Line, Row, Table, markdown
from vectors import enlarged

from twotower.commands.compose import load_settings
from twotower.index.ground_truth import GroundTruth, evenly_spaced
from twotower.index.index import Index
from twotower.index.kinds.ivf import IVF
from twotower.index.rehearsal import save_and_load
from twotower.index.tune import has_fixed_search, measure_recall, recall_curve, time_searches

SHARE_AT_START, NUM_STEPS, INSERTED, DELETED, REPLACED, DEGREES = 0.85, 6, 0.01, 0.01, 0.04, 5.0
K, NUM_TIMED, REPEATS, NUM_QUERIES = 100, 300, 3, 800


@dataclass(frozen=True)
class Step:
    """The catalogue after a step, rows from `first` to below `end`, and exact results of its three parts.

    A quarter of the queries fits an index (`fitted`, [Q, D]), another tunes it, and the others measure it.
    """

    first: int
    end: int
    fitted: np.ndarray
    tuning: GroundTruth
    test: GroundTruth


def rotated(vectors: np.ndarray, degrees: float, axes: np.ndarray) -> np.ndarray:
    """Return vectors [n, D] rotated in the plane of each two axes of a list; an odd one stays."""
    half = len(axes) // 2
    one, other = axes[0 : 2 * half : 2], axes[1 : 2 * half : 2]
    cos, sin = np.float32(np.cos(np.radians(degrees))), np.float32(np.sin(np.radians(degrees)))
    result = vectors.copy()
    result[:, one] = cos * vectors[:, one] - sin * vectors[:, other]
    result[:, other] = sin * vectors[:, one] + cos * vectors[:, other]
    return result


def steps(items: np.ndarray, queries: np.ndarray, gather: float) -> tuple[np.ndarray, list[Step]]:
    """Return the vectors of all versions of items [M, D], by row, and the start and each step.

    Pairs of queries have the same part in all steps, so each part has as many rotated queries as others.
    """
    random = np.random.default_rng(0)
    items, axes = items[random.permutation(len(items))], random.permutation(items.shape[1])
    size = round(SHARE_AT_START * len(items))
    start, spare = items[:size], items[size:]
    liked = start[np.argmax(start @ queries[0])]
    versions, ends, asked = [start], [(0, size)], [queries]
    for number in range(1, NUM_STEPS + 1):
        last = round(number * (DELETED + REPLACED) * size)
        inserted = slice(*(round(each * INSERTED * size) for each in (number - 1, number)))
        old = start[max(ends[-1][0], last - round(REPLACED * size)) : last]
        new = rotated(np.concatenate([old, spare[inserted]]), number * DEGREES, axes)
        new += gather * (rotated(liked[None], number * DEGREES, axes) - new)
        versions.append(new)
        ends.append((last, ends[-1][1] + len(new)))
        asked.append(queries.copy())
        asked[-1][1::2] = rotated(queries[1::2], number * DEGREES, axes)
    vectors, numbers = np.concatenate(versions), np.arange(len(queries))
    parts = np.random.default_rng(0).permutation(-(-len(queries) // 2))[numbers // 2] % 4
    made = []
    for (first, end), each in zip(ends, asked, strict=True):
        exact = GroundTruth.search(vectors[first:end], np.arange(first, end), each, K)
        tuning, test = exact.part(K, numbers[parts == 2]), exact.part(K, numbers[parts % 2 == 1])
        made.append(Step(first, end, each[parts == 0], tuning, test))
    return vectors, made


def tune(index: Index, truth: GroundTruth, target_recall: float) -> float:
    """Set the fastest search argument that reaches the target, unless it is fixed; return the recall."""
    measure = functools.partial(measure_recall, index, truth)
    if has_fixed_search(index):
        return measure(index.search_args).recall
    return recall_curve(index, measure, target_recall)[-1].recall


def p99s(indexes: Sequence[Index], queries: np.ndarray) -> np.ndarray:
    """Return the 99th percentile of the seconds of one query, by index; they are searched in alternation."""
    timed = queries[evenly_spaced(len(queries), NUM_TIMED)]
    searches = [(index, query[None]) for query in timed for index in indexes]
    fastest = time_searches(searches, K, REPEATS)[0].min(axis=0).reshape(len(timed), len(indexes))
    percentiles: np.ndarray = np.percentile(fastest, 99, axis=0)
    return percentiles


def changes(
    index: Index, vectors: np.ndarray, all_steps: Sequence[Step], target_recall: float | None
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each step.

    Args:
        index: built and tuned at the start; it is not changed.
        vectors: of all versions of items, by row.
        all_steps: the start and each step.
        target_recall: balance the clusters and tune to this recall after each step; None: do neither.
    """
    changing, before = save_and_load(index), all_steps[0]
    for number, step in enumerate(all_steps):
        clock = [time.perf_counter()]
        changing.remove(np.arange(before.first, step.first))
        changing.add(vectors[before.end : step.end], np.arange(before.end, step.end))
        clock.append(time.perf_counter())
        if target_recall is not None and number:
            changing = changing.balanced(vectors[step.first : step.end], np.arange(step.first, step.end))
            tune(changing, step.tuning, target_recall)
        clock.append(time.perf_counter())
        rows = changing.search(step.test.queries, K).rows
        now, then = p99s([changing, index], step.test.queries)
        sizes = changing.list_sizes if isinstance(changing, IVF) else np.ones(1)
        yield {
            "search": " ".join(f"{key}={value}" for key, value in changing.search_args.items()) or "all",
            "recall@10": step.test.part(10).recall(rows),
            "recall@100": step.test.recall(rows),
            "p99 of start": now / then,
            "change s": clock[1] - clock[0],
            "balance s": clock[2] - clock[1],
            "clusters": len(sizes),
            "imbalance": float(len(sizes) * (sizes**2).sum() / sizes.sum() ** 2),
        }
        before = step


def rows() -> list[Row]:
    """Return a row for each index, maintained and not, with new items that spread and that gather."""
    return [
        Row(f"{kind}, {how}{', gathering' * (gather > 0)}", (kind, how, str(gather), str(target)), minutes=5)
        for gather, target in ((0.0, 0.95), (0.5, 0.97))
        for kind in ("ivf_sq", "ivf_pq_fastscan")
        for how in ("maintained", "as built")
    ]


def measure(row: Row, seed: int) -> Figures:
    """Change an index of a million items step by step."""
    kind, how, gather, target_recall = row.words
    _, items, users = enlarged("Shop")
    queries = users[evenly_spaced(len(users), NUM_QUERIES)]
    vectors, made = steps(items, queries, float(gather))
    spec = load_settings("build_index", ["parts=.", "out=.", f"index={kind}"])["index"]
    at_start = vectors[: made[0].end]
    index = Index.Config.from_spec(spec, "index").choose_for(at_start, made[0].fitted).build()
    index.build(at_start, np.arange(len(at_start)))
    target = min(tune(index, made[0].tuning, float(target_recall)), float(target_recall))
    return {"steps": list(changes(index, vectors, made, target if how == "maintained" else None))}


def show(lines: Sequence[Line]) -> str:
    """Return a row for each step."""
    found = [
        {"index": line.row, "step": n, **each}
        for line in lines
        for n, each in enumerate(line.figures["steps"])
    ]
    return markdown(
        pd.DataFrame(found).map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
    )


TABLES = {"churn": Table("index-lab.md", rows, measure, show)}
