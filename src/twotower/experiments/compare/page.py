"""The comparison as one self-contained page."""

import itertools
import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.experiments.compare.comparison import Comparison, is_comparable
from twotower.experiments.compare.figure_names import (
    INDEX_COLUMNS,
    format_figure,
    heading,
    per_user_column,
    validation_key,
)
from twotower.experiments.compare.output_forms import (
    labels,
    shared_note,
    summary,
    text_columns,
    verdict_pairs,
)
from twotower.experiments.compare.run_frame import SETTING, is_figure, records
from twotower.experiments.runs.outcome import front

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no direction is better"}
NO_BREAK = "\N{NO-BREAK SPACE}"
INDEX_RECALL, LATENCY, BYTES = INDEX_COLUMNS
COSTS = {LATENCY: ("latency of one query, ms (median)", " ms"), BYTES: ("index bytes per item", " bytes")}


def as_html(comparison: Comparison) -> str:
    """Return the page, which loads nothing: the table, and quality against the cost of the index."""
    from plotly.offline import get_plotlyjs

    page, css, js = (
        (files("twotower.experiments.compare") / f"page.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    data = json.dumps(page_data(comparison), allow_nan=False)
    return Template(page).substitute(
        title=f"Comparison of {len(comparison.runs)} runs",
        lead=escape(f"Compared by {comparison.metric}; {DIRECTIONS[comparison.higher]}."),
        num_settings=len(comparison.keys),
        css=css,
        js=js,
        plotly=get_plotlyjs(),
        data=data.replace("<", "\\u003c"),  # no text ends the script element
    )


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page's script reads; plots name rows by their number, from 1."""
    rows, shared = comparison.rows, shared_note(comparison.rows)
    named = zip(records(rows), labels(comparison), strict=True)
    return {
        # Notes on single runs are in their rows.
        "summary": list(summary(comparison, with_user_notes=False)),
        "rows": [
            {
                "name": row["name"],
                "label": label,
                "note": "" if row["note"] == shared else row["note"],
                "folder": row["name"] if row["kind"] == "baseline" else row["folder"],
                "baseline": number == comparison.baseline,
            }
            for number, (row, label) in enumerate(named)
        ],
        "columns": _table_columns(comparison),
        "plots": list(_plots(comparison)),
    }


def _table_columns(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the columns of the table; the cells of `what differs` are drawn from the rows.

    The verdict stays in sight when the table is scrolled; in this order it does not cover its own figures.
    `below` is shown below a cell.
    """
    columns = text_columns(comparison, comparison.keys)
    shown: dict[str, dict[str, Any]] = {}
    for key, column in columns.items():
        style, (name, cells) = (
            "" if column.is_text else "number",
            column.short or (column.heading, column.cells),
        )
        shown[key] = {"heading": name, "style": style, "cells": cells}
        if column.short:  # a setting in short words; the titles of its cells have the full text
            kind = "setting" if key.removeprefix(SETTING) in comparison.main_keys else "setting extra"
            shown[key] |= {"style": f"{kind} {style}", "title": column.heading, "titles": column.cells}
    if "interval" in columns:
        title = f"difference, {columns['interval'].heading.replace(' ', NO_BREAK)}"
        shown["difference"] |= {"heading": title, "below": columns["interval"].cells}
        shown["verdict"]["below"] = [f"p {text}" if text else "" for text in columns["p_value"].cells]
    verdicts, reasons = zip(*verdict_pairs(comparison.rows), strict=True)
    shown["verdict"] |= {"style": "verdicts", "cells": verdicts, "reasons": reasons}
    figures = [key for key in columns if is_figure(key) or key == "spread"]
    first = {validation_key(comparison.metric), comparison.metric, "spread"}
    other_keys = [key for key in comparison.keys if key not in comparison.main_keys]
    num_first = len(first.intersection(figures))
    tested = ("difference", "detectable", "users_needed", "verdict")
    return [
        shown["number"],
        {"heading": "what differs", "style": "name"},
        *(shown[f"{SETTING}{key}"] for key in [*comparison.main_keys, *other_keys]),
        *(shown[key] for key in [*figures[:num_first], *tested, *figures[num_first:]] if key in shown),
    ]


def _plots(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield for each quality and cost the points (cost, quality), and the rows of its Pareto front."""
    metric, rows = comparison.metric, comparison.rows[is_comparable(comparison.rows)]
    qualities = {"index recall@100 of exact search": INDEX_RECALL}
    if per_user_column(metric):
        qualities = {f"{heading(metric)} through the index": metric} | qualities
    for (name, quality), (key, (label, unit)) in itertools.product(qualities.items(), COSTS.items()):
        shown = rows.reindex(columns=[key, quality]).dropna().sort_values(key, kind="stable")
        points: list[dict[str, Any]] = [
            {"row": at + 1, "x": x, "y": y, "figures": f"{format_figure(key, x)}{unit}, {y:.4f}"}
            for at, x, y in shown.itertuples(name=None)
        ]
        if points:
            sign = 1 if quality == metric and comparison.higher is False else -1
            best = front([(point["x"], sign * point["y"]) for point in points])
            numbers = [points[at]["row"] for at in best]
            yield {"x": label, "y": name, "points": points, "front": numbers}
