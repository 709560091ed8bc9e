"""Data of the page's plots as plain values; rows are named by their number in the table, from 1."""

from typing import Any

import pandas as pd

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.comparison_notes import main_keys, plotted_rows
from twotower.reports.compare.figure_names import (
    exact_key,
    format_figure,
    heading,
    per_user_column,
    validation_key,
)
from twotower.reports.compare.parallel_axes import parallel_axes
from twotower.reports.compare.text_columns import row_label
from twotower.reports.pareto import front
from twotower.runs.result import is_number

MOST_CURVES = 8
MOST_PICKED = 8
COSTS = {"latency": "index/latency_ms_p50", "bytes": "index/bytes_per_item"}
COST_LABELS = {"latency": "latency of one query, ms (median)", "bytes": "index bytes per item"}
INDEX_RECALL = "index/recall_at_100"

Curves = dict[str, dict[int, list[float | None]]]


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page's script reads."""
    keys = main_keys(comparison)
    numbers = {row["folder"]: at for at, row in enumerate(comparison.records(), start=1)}
    return {
        "rows": [
            {
                "name": row["name"],
                "label": row_label(row, keys),
                "baseline": at == comparison.baseline,
                "verdict": row["verdict"],
            }
            for at, row in enumerate(comparison.records())
        ],
        "curves": curves(comparison),
        "fronts": {name: fronts(comparison, name) for name in COSTS},
        "parallel": parallel_axes(comparison),
        "slices": slices(comparison),
        "searches": [
            {
                "name": search.name,
                "objective": heading(search.objective),
                "numbers": search.numbers,
                "rows": [numbers.get(str(job)) for job in search.jobs],
                "values": search.values,
                "best": search.best_so_far(),
                "importance": dict(search.importance),
            }
            for search in comparison.searches
        ],
    }


def picked(comparison: Comparison) -> set[int]:
    """Return the rows that are drawn in color at first: the baseline and the best, one per training."""
    rows = plotted_rows(comparison)
    # Curves of one training under several indexes would lie on top of each other.
    quality = [
        key for key in (exact_key(comparison.metric), validation_key(comparison.metric)) if key in rows
    ]
    first = rows.index == comparison.baseline
    ordered = pd.concat([rows[first], rows[~first]])
    distinct = ordered.drop_duplicates(quality) if quality else ordered[:1]
    return {at + 1 for at in distinct.index[:MOST_PICKED]}


def curves(comparison: Comparison) -> Curves:
    """Return learning curves by key, that of the metric on the validation split first.

    A row of several seeds shows its first one. A value that is no number, as of a run that diverged, is None.
    """
    by_key: Curves = {}
    for number, row in enumerate(comparison.records(), start=1):
        curves = {} if row["kind"] == "baseline" else comparison.results[row["folder"]].curves
        for key, values in curves.items():
            if any(map(is_number, values)):
                by_key.setdefault(key, {})[number] = [
                    float(f"{value:.5g}") if is_number(value) else None for value in values
                ]
    first = [validation_key(comparison.metric), "valid/recall_at_20", "train/loss", "valid/loss"]
    order = dict.fromkeys([*first, *sorted(by_key)])
    shown = [key for key in order if key in by_key][:MOST_CURVES]
    return {key: by_key[key] for key in shown}


def fronts(comparison: Comparison, cost: str) -> list[dict[str, Any]]:
    """Return for each quality the points (cost, quality), and the rows of its Pareto front."""
    metric, key = comparison.metric, COSTS[cost]
    rows = plotted_rows(comparison)
    qualities = {"index recall@100 of exact search": INDEX_RECALL}
    if per_user_column(metric):
        through = {f"{heading(metric)} through the index": metric}
        has_metric = rows.dropna(subset=[metric]) if metric in rows else rows[:0]
        num_towers = has_metric[exact_key(metric)].nunique() if exact_key(metric) in has_metric else 0
        # Where all rows have the same towers, only the index distinguishes them.
        qualities = qualities | through if num_towers == 1 else through | qualities
    plots = []
    for name, quality in qualities.items():
        if key not in rows or quality not in rows:
            continue
        shown = rows.dropna(subset=[key, quality]).sort_values(key, kind="stable")
        unit = " ms" if cost == "latency" else " bytes"
        points = [
            {"row": at + 1, "x": x, "y": y, "figures": f"{format_figure(key, x)}{unit}, {y:.4f}"}
            for at, x, y in zip(
                shown.index.tolist(), shown[key].tolist(), shown[quality].tolist(), strict=True
            )
        ]
        if points:
            best = front(shown[key].tolist(), shown[quality].tolist())
            numbers = [points[at]["row"] for at in best]
            plots.append({"x": COST_LABELS[cost], "y": name, "points": points, "front": numbers})
    return plots


def slices(comparison: Comparison) -> dict[str, Any] | None:
    """Return the metric of each row over the slices of its split; None if no run has slices."""
    split, _, column = comparison.metric.rpartition("/")
    rows = plotted_rows(comparison)
    by_row = {}
    for at, folder in zip(rows.index.tolist(), rows["folder"], strict=True):
        groups = comparison.results[folder].slices.get(split, {})
        values = {
            (group, name): each.get(column) for group, of in groups.items() for name, each in of.items()
        }
        if any(value is not None for value in values.values()):
            by_row[at + 1] = values
    names = list(dict.fromkeys(name for values in by_row.values() for name in values))
    if not names:
        return None
    return {
        "label": heading(comparison.metric),
        "labels": [f"{name}<br>{group.replace('_', ' ')}" for group, name in names],
        "breaks": [at - 0.5 for at in range(1, len(names)) if names[at][0] != names[at - 1][0]],
        "values": {number: [values.get(name) for name in names] for number, values in by_row.items()},
    }
