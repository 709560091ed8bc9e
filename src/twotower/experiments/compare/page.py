"""The comparison as one self-contained page."""

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from math import ceil
from string import Template
from typing import Any

import pandas as pd

from twotower.experiments.compare.comparison import Comparison
from twotower.experiments.compare.figure_names import (
    INDEX_COLUMNS,
    exact_key,
    format_figure,
    heading,
    per_user_column,
    validation_key,
)
from twotower.experiments.compare.output_forms import (
    labels,
    parse_number,
    setting_columns,
    setting_texts,
    shared_note,
    summary,
    text_columns,
    verdict_pairs,
)
from twotower.experiments.compare.run_frame import MEASURED, is_figure, records
from twotower.experiments.runs.pareto import front
from twotower.experiments.runs.result import is_number

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no direction is better"}
NO_BREAK = "\N{NO-BREAK SPACE}"
MOST_CURVES = 8
MOST_PICKED = 8
INDEX_RECALL, *COSTS = INDEX_COLUMNS
COST_NAMES = {
    "latency": (COSTS[0], "latency of one query, ms (median)", " ms"),
    "bytes": (COSTS[1], "index bytes per item", " bytes"),
}
MOST_TICKS = 12
"""How many values of a setting have a tick."""
LONGEST_LINE = 13
"""Characters of a line of an axis's name, unless a single word is longer."""
MOST_FIGURES = 4


def as_html(comparison: Comparison) -> str:
    """Return the page, which loads nothing: table, learning curves, Pareto fronts, settings, slices."""
    from plotly.offline import get_plotlyjs

    page, css, js = (
        (files("twotower.experiments.compare") / f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    data = json.dumps(page_data(comparison), allow_nan=False)
    return Template(page).substitute(
        title=f"Comparison of {len(comparison.runs)} runs",
        lead=escape(f"Compared by {comparison.metric}; {DIRECTIONS[comparison.higher]}."),
        metric=escape(heading(comparison.metric)),
        num_settings=len(comparison.keys),
        css=css,
        js=js,
        plotly=get_plotlyjs(),
        data=data.replace("<", "\\u003c"),  # no text ends the script element
    )


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page's script reads; plots name rows by their number, from 1."""
    rows, ticked, shared = comparison.rows, picked(comparison), shared_note(comparison.rows)
    named = zip(records(rows), labels(comparison), strict=True)
    return {
        # Notes on single runs are in their rows.
        "summary": list(summary(comparison, with_user_notes=False)),
        "rows": [
            {
                "name": row["name"],
                "label": label,
                "note": "" if row["note"] == shared else row["note"],
                "folder": row["folder"],
                "has_box": row["state"] in MEASURED and row["kind"] != "baseline",
                "ticked": number in ticked,
                "baseline": number - 1 == comparison.baseline,
            }
            for number, (row, label) in enumerate(named, start=1)
        ],
        "columns": _table_columns(comparison),
        "curves": curves(comparison),
        "fronts": {name: _fronts(comparison, name) for name in COST_NAMES},
        "parallel": _parallel_axes(comparison),
        "slices": _slices(comparison),
    }


def _table_columns(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the columns of the table; the cells of `what differs` are drawn from the rows.

    The verdict stays in sight when the table is scrolled; in this order it does not cover its own figures.
    `below` is shown below a cell.
    """
    columns = text_columns(comparison)
    shown: dict[str, dict[str, Any]] = {
        key: {"heading": column.heading, "style": "" if column.is_text else "number", "cells": column.cells}
        for key, column in columns.items()
    }
    if "interval" in columns:
        title = f"difference, {columns['interval'].heading.replace(' ', NO_BREAK)}"
        shown["difference"] |= {"heading": title, "below": columns["interval"].cells}
        shown["verdict"]["below"] = [f"p {text}" if text else "" for text in columns["p_value"].cells]
    verdicts, reasons = zip(*verdict_pairs(comparison.rows), strict=True)
    shown["verdict"] |= {"style": "verdicts", "cells": verdicts, "reasons": reasons}
    figures = [key for key in columns if is_figure(key) or key == "spread"]
    first = {validation_key(comparison.metric), comparison.metric, "spread"}
    num_first = len(first.intersection(figures))
    tested = ("difference", "detectable", "users_needed", "verdict")
    other_keys = [key for key in comparison.keys if key not in comparison.main_keys]
    return [
        shown["number"],
        {"heading": "what differs", "style": "name"},
        *_settings(comparison, comparison.main_keys, "setting"),
        *_settings(comparison, other_keys, "setting extra"),
        *(shown[key] for key in [*figures[:num_first], *tested, *figures[num_first:]] if key in shown),
    ]


def _settings(comparison: Comparison, keys: Sequence[str], style: str) -> Iterator[dict[str, Any]]:
    """Yield a column per setting in short words; the titles of its cells have the full text."""
    for column in setting_columns(comparison, keys).values():
        short_key, cells = column.short or ("", [])
        yield {
            "heading": short_key,
            "title": column.heading,
            "style": style if column.is_text else f"{style} number",
            "cells": cells,
            "titles": column.cells,
        }


def picked(comparison: Comparison) -> set[int]:
    """Return the rows that are drawn in color at first: the baseline and the best, one per training."""
    rows = comparison.plotted_rows()
    # Curves of one training under several indexes would lie on top of each other.
    quality = [
        key for key in (exact_key(comparison.metric), validation_key(comparison.metric)) if key in rows
    ]
    first = rows.index == comparison.baseline
    ordered = pd.concat([rows[first], rows[~first]])
    distinct = ordered.drop_duplicates(quality) if quality else ordered[:1]
    return {at + 1 for at in distinct.index[:MOST_PICKED]}


def curves(comparison: Comparison) -> dict[str, dict[int, list[float | None]]]:
    """Return learning curves by key and row, that of the metric on the validation split first.

    A row of several seeds shows its first one. A value that is no number, as of a run that diverged, is None.
    """
    by_key: dict[str, dict[int, list[float | None]]] = {}
    for number, row in enumerate(records(comparison.rows), start=1):
        curves = {} if row["kind"] == "baseline" else row["result"].curves
        for key, values in curves.items():
            if any(map(is_number, values)):
                by_key.setdefault(key, {})[number] = [
                    float(f"{value:.5g}") if is_number(value) else None for value in values
                ]
    first = [validation_key(comparison.metric), "valid/recall_at_20", "train/loss", "valid/loss"]
    order = dict.fromkeys([*first, *sorted(by_key)])
    shown = [key for key in order if key in by_key][:MOST_CURVES]
    return {key: by_key[key] for key in shown}


def _fronts(comparison: Comparison, cost: str) -> list[dict[str, Any]]:
    """Return for each quality the points (cost, quality), and the rows of its Pareto front."""
    metric, (key, label, unit) = comparison.metric, COST_NAMES[cost]
    rows = comparison.plotted_rows()
    qualities = {"index recall@100 of exact search": INDEX_RECALL}
    if per_user_column(metric):
        qualities = {f"{heading(metric)} through the index": metric} | qualities
    plots = []
    for name, quality in qualities.items():
        shown = rows.reindex(columns=[key, quality]).dropna().sort_values(key, kind="stable")
        points: list[dict[str, Any]] = [
            {"row": at + 1, "x": x, "y": y, "figures": f"{format_figure(key, x)}{unit}, {y:.4f}"}
            for at, x, y in shown.itertuples(name=None)
        ]
        if points:
            sign = 1 if quality == metric and comparison.higher is False else -1
            best = front([(point["x"], sign * point["y"]) for point in points])
            numbers = [points[at]["row"] for at in best]
            plots.append({"x": label, "y": name, "points": points, "front": numbers})
    return plots


def _slices(comparison: Comparison) -> dict[str, Any] | None:
    """Return the metric of each row over the slices of its split; None if no run has slices."""
    split, _, column = comparison.metric.rpartition("/")
    rows = comparison.plotted_rows()
    by_row = {}
    for at, result in zip(rows.index.tolist(), rows["result"], strict=True):
        groups = result.slices.get(split, {})
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


def _parallel_axes(comparison: Comparison) -> dict[str, Any] | None:
    """Return axes for the main settings and figures of the runs; None for one run or equal settings."""
    metric = comparison.metric
    if metric not in comparison.rows:
        return None
    rows = comparison.plotted_rows().dropna(subset=[metric])
    keys = [key for key in comparison.main_keys if key != "seed"]
    settings = [axis for key in keys if (axis := setting_axis(key, setting_texts(rows, key)))]
    if len(rows) < 2 or not settings:
        return None
    figures = [
        {"label": axis_label(heading(key)), "values": rows[key].tolist()}
        for key in (metric, *comparison.columns)
        if key in rows and rows[key].notna().all() and rows[key].nunique() > 1
    ]
    return {
        "dimensions": [*settings, *figures[:MOST_FIGURES]],
        "color": rows[metric].tolist(),
        "label": heading(metric),
    }


def setting_axis(key: str, values: Sequence[str]) -> dict[str, Any] | None:
    """Return the axis of a setting, given its text in each row; None if all are equal.

    Distinct values are sorted and at equal distances: 32, 64 and 1024 are as easy to distinguish as words.
    """
    order = sorted(set(values), key=lambda text: (parse_number(text) is None, parse_number(text) or 0, text))
    if len(order) < 2:
        return None
    ticks = range(0, len(order), ceil(len(order) / MOST_TICKS))
    return {
        "label": axis_label(key),
        "values": [order.index(value) for value in values],
        "tickvals": list(ticks),
        "ticktext": [order[tick] for tick in ticks],
        "range": [-0.3, len(order) - 0.7],
    }


def axis_label(key: str) -> str:
    """Return the whole key, with line breaks after words."""
    lines = [""]
    for word in re.findall(r"[^._ ]+[._ ]?", key):
        if lines[-1] and len(lines[-1] + word) > LONGEST_LINE:
            lines.append("")
        lines[-1] += word
    return "<br>".join(lines)
