"""What the page's plots show, as plain values; rows are named by their number in the table, from 1."""

from typing import Any

from twotower.reports.compare.columns import label_of
from twotower.reports.compare.comparison import Comparison, Row, telling_keys
from twotower.reports.compare.entries import column_of, exact_key, label, validation_key, written
from twotower.reports.compare.judge import NOT_COMPARABLE
from twotower.reports.compare.parallel import parallel
from twotower.reports.pareto import front
from twotower.runs.result import is_number

MOST_CURVES = 8
MOST_PICKED = 8
COSTS = {"latency": "index/latency_ms_p50", "bytes": "index/bytes_per_item"}
COST_LABELS = {"latency": "latency of one query, ms (median)", "bytes": "index bytes per item"}


Curves = dict[str, dict[int, list[float | None]]]


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything the page's script reads."""
    keys = telling_keys(comparison.keys, comparison.records)
    numbers = {row.entry.run.folder: at for at, row in enumerate(comparison.rows, start=1)}
    return {
        "rows": [
            {
                "name": row.entry.name,
                "label": label_of(row, keys),
                "baseline": row.entry is comparison.baseline,
                "verdict": row.verdict,
            }
            for row in comparison.rows
        ],
        "curves": curves(comparison),
        "fronts": {name: fronts(comparison, name) for name in COSTS},
        "parallel": parallel(
            comparison, [row for row in _comparable(comparison).values() if row.entry.trained]
        ),
        "slices": slices(comparison),
        "searches": [
            {
                "name": search.name,
                "objective": label(search.objective),
                "numbers": search.numbers,
                "rows": [numbers.get(job) for job in search.jobs],
                "values": search.values,
                "best": search.best_so_far(),
                "importance": dict(search.importance),
            }
            for search in comparison.searches
        ],
    }


def picked(comparison: Comparison) -> set[int]:
    """Return the rows drawn in colour at first: the baseline and the best, once for each training."""
    comparable = {
        number: row for number, row in _comparable(comparison).items() if row.entry.trained
    }  # which have neither curves nor slices
    baseline = [number for number, row in comparable.items() if row.entry is comparison.baseline]
    by_training: dict[tuple[float | None, ...], int] = {}
    for number in [*baseline, *comparable]:
        figures = comparable[number].entry.figures
        # Curves of one training under several indexes would lie on top of each other.
        quality = figures.get(exact_key(comparison.metric)), figures.get(validation_key(comparison.metric))
        by_training.setdefault(quality, number)
    return set(list(by_training.values())[:MOST_PICKED])


def _comparable(comparison: Comparison) -> dict[int, Row]:
    """Return the rows with figures that may stand in one plot with the baseline's, by number."""
    return {
        number: row
        for number, row in enumerate(comparison.rows, start=1)
        if row.entry.figures and row.verdict != NOT_COMPARABLE
    }


def curves(comparison: Comparison) -> Curves:
    """Return learning curves by key, the metric's own on the validation split first.

    A row of several seeds shows its first. A value that is no number, as of a run that diverged, is None.
    """
    found: Curves = {}
    for number, row in enumerate(comparison.rows, start=1):
        for key, values in row.entry.run.result.curves.items() if row.entry.trained else ():
            if any(map(is_number, values)):
                found.setdefault(key, {})[number] = [
                    float(f"{value:.5g}") if is_number(value) else None for value in values
                ]
    first = [validation_key(comparison.metric), "valid/recall_at_20", "train/loss", "valid/loss"]
    order = [key for key in dict.fromkeys(first) if key in found]
    order += sorted(key for key in found if key not in order)
    return {key: found[key] for key in order[:MOST_CURVES]}


def fronts(comparison: Comparison, cost: str) -> list[dict[str, Any]]:
    """Return for each quality the points (cost, quality) and which rows no other beats in both."""
    plots = []
    for name, values in _qualities(comparison).items():
        points: list[dict[str, Any]] = []
        for number, value in values.items():
            x = comparison.rows[number - 1].entry.figures.get(COSTS[cost])
            if x is not None:
                told = f"{written(COSTS[cost], x)}{' ms' if cost == 'latency' else ' bytes'}, {value:.4f}"
                points.append({"row": number, "x": x, "y": value, "told": told})
        points.sort(key=lambda point: point["x"])
        if points:
            unbeaten = front([point["x"] for point in points], [point["y"] for point in points])
            rows = [points[position]["row"] for position in unbeaten]
            plots.append({"x": COST_LABELS[cost], "y": name, "points": points, "front": rows})
    return plots


def _qualities(comparison: Comparison) -> dict[str, dict[int, float]]:
    """Return the qualities to set against costs, each row number -> value, the more telling one first.

    Where all rows have the same towers, only the index tells them apart.
    """
    through, exact = {}, {}
    for number, row in _comparable(comparison).items():
        if not row.entry.trained:
            continue
        if row.value is not None and column_of(comparison.metric):
            through[number] = row.value
        if (recall := row.entry.figures.get("index/recall_at_100")) is not None:
            exact[number] = recall
    found = {
        f"{label(comparison.metric)} through the index": through,
        "index recall@100 of exact search": exact,
    }
    towers = exact_key(comparison.metric)
    if len({comparison.rows[number - 1].entry.figures.get(towers) for number in through}) == 1:
        found = dict(reversed(found.items()))
    return {name: values for name, values in found.items() if values}


def slices(comparison: Comparison) -> dict[str, Any] | None:
    """Return the metric of each row over the slices of its split, or None where no run has any."""
    split, _, column = comparison.metric.rpartition("/")
    found = {number: _slices_of(row, split, column) for number, row in _comparable(comparison).items()}
    found = {number: values for number, values in found.items() if values}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    if not names:
        return None
    breaks = [at - 0.5 for at in range(1, len(names)) if names[at][0] != names[at - 1][0]]
    users = {name: values[name][1] for values in reversed(found.values()) for name in values}
    return {
        "label": label(comparison.metric),
        "labels": [f"{name}<br>{group.replace('_', ' ')}" for group, name in names],
        "users": [users[name] for name in names],
        "breaks": breaks,
        "values": {n: [values.get(name, (None,))[0] for name in names] for n, values in found.items()},
    }


def _slices_of(row: Row, split: str, column: str) -> dict[tuple[str, str], tuple[float, float | None]]:
    """Return (group, slice) -> value and number of users, of a row of one run's own figures."""
    if not row.entry.trained or not row.entry.figures:
        return {}
    return {
        (group, name): (value, values.get("num_users"))
        for group, named in row.entry.run.result.slices.get(split, {}).items()
        for name, values in named.items()
        if (value := values.get(column)) is not None
    }
