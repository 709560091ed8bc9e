"""The comparison as one self-contained page."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from math import ceil
from string import Template
from typing import Any

import pandas as pd

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import (
    INDEX_COLUMNS,
    exact_key,
    format_figure,
    heading,
    per_user_column,
    validation_key,
)
from twotower.reports.compare.output_forms import (
    DIFFERENCE,
    INTERVAL,
    NUMBER,
    P_VALUE,
    SPREAD,
    VERDICT,
    WHAT_DIFFERS,
    TextColumn,
    labels,
    parse_number,
    setting_columns,
    setting_texts,
    shared_note,
    summary,
    text_columns,
    verdict_pairs,
    verdict_text,
)
from twotower.reports.compare.run_frame import MEASURED, is_figure, records
from twotower.reports.compare.verdicts import BETTER, WORSE
from twotower.reports.pareto import front
from twotower.runs.result import is_number

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no direction is better"}
LONGEST_PILL, LONG = 40, 40
LONG_NAME, LONG_HEADING = 20, 12
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

    # Notes on single runs are in their rows.
    lines = summary(comparison, with_user_notes=bool(shared_note(comparison.rows)))
    data = json.dumps(page_data(comparison), allow_nan=False)
    return Template(_file("page.html")).substitute(
        title=escape(f"Comparison of {len(comparison.runs)} runs"),
        lead=escape(f"Compared by {comparison.metric}; {DIRECTIONS[comparison.higher]}."),
        metric=escape(heading(comparison.metric)),
        summary="".join(
            f"<li{' class=note' if line.startswith('note:') else ''}>{_breakable(line)}</li>"
            for line in lines
        ),
        num_settings=len(comparison.keys),
        table=_run_table(comparison),
        css=_file("page.css"),
        js=_file("page.js"),
        plotly=get_plotlyjs(),
        data=data.replace("<", "\\u003c"),  # no text ends the script element
    )


def _file(name: str) -> str:
    return (files("twotower.reports.compare") / name).read_text(encoding="utf-8")


def _run_table(comparison: Comparison) -> str:
    """Return the runs as a table.

    The verdict column stays in sight when the table is scrolled; in this order it does not cover its own
    figures. An interval is written below its difference, a p-value below its verdict.
    """
    rows, metric = comparison.rows, comparison.metric
    columns = text_columns(comparison)
    other_keys = [key for key in comparison.keys if key not in comparison.main_keys]
    figures = [key for key in columns if is_figure(key) or key == SPREAD]
    num_first = sum(key in figures for key in {validation_key(metric), metric, SPREAD})
    nothing = [""] * len(rows)
    intervals, p_values = (columns[key].cells if key in columns else nothing for key in (INTERVAL, P_VALUE))
    title = f"{DIFFERENCE}, {INTERVAL.replace(' ', NO_BREAK)}" if INTERVAL in columns else DIFFERENCE
    differences = (
        f'<td class="number">{escape(difference)}{_below(interval)}</td>'
        for difference, interval in zip(columns[DIFFERENCE].cells, intervals, strict=True)
    )
    verdicts = (
        _verdict(*verdict, p_value) for verdict, p_value in zip(verdict_pairs(rows), p_values, strict=True)
    )
    cells = [
        _text_column(columns[NUMBER]),
        _column(WHAT_DIFFERS, _names(comparison), "name"),
        *_settings(comparison, comparison.main_keys, "setting"),
        *_settings(comparison, other_keys, "setting extra"),
        *(_text_column(columns[key]) for key in figures[:num_first]),
        _column(title, differences, "number"),
        _column(VERDICT, verdicts, "verdicts"),
        *(_text_column(columns[key]) for key in figures[num_first:]),
    ]
    head, *body = ("".join(each) for each in zip(*cells, strict=True))
    styles = [' class="baseline"' if at == comparison.baseline else "" for at in range(len(rows))]
    lines = "".join(f"<tr{style}>{row}</tr>" for style, row in zip(styles, body, strict=True))
    table = f'<table class="sortable" id="table"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="scroll" role="region" aria-label="Runs" tabindex="0">{table}</div>'


def _settings(comparison: Comparison, keys: Sequence[str], style: str) -> Iterator[list[str]]:
    """Yield a column per setting in short words; the titles of its cells have the full text."""
    short, full = (setting_columns(comparison, keys, short) for short in (True, False))
    for column, whole in zip(short.values(), full.values(), strict=True):
        of = style if column.is_text else f"{style} number"
        cells = (
            f'<td class="{of}" title="{escape(title)}">{escape(text)}</td>'
            for text, title in zip(column.cells, whole.cells, strict=True)
        )
        yield _column(column.heading, cells, of, whole.heading)


def _text_column(column: TextColumn) -> list[str]:
    style = "" if column.is_text else "number"
    cells = (f'<td class="{style}">{escape(text)}</td>' for text in column.cells)
    return _column(column.heading, cells, style)


def _column(title: str, cells: Iterable[str], style: str, whole: str = "") -> list[str]:
    """Return the `th` of the heading and a `td` per row."""
    shown = f' title="{escape(whole)}"' if whole else ""
    button = f'<button type="button">{_breakable(title, LONG_HEADING)}</button>'
    return [f'<th scope="col" class="{style}"{shown}>{button}</th>', *cells]


def _names(comparison: Comparison) -> Iterator[str]:
    """Yield the label of each row, and below it its name and the user's note."""
    ticked, shared = picked(comparison), shared_note(comparison.rows)
    named = zip(records(comparison.rows), labels(comparison), strict=True)
    for number, (row, label) in enumerate(named, start=1):
        content = _breakable(row["name"])
        if row["name"] != label:
            content = " ".join(f'<span class="word">{escape(word)}</span>' for word in label.split())
            content += f'<br><small class="folder">{_breakable(row["name"])}</small>'
        if row["note"] not in ("", shared):
            content += f'<br><small class="own">{escape(row["note"])}</small>'
        title, text = row["name"], f'<span class="text">{content}</span>'
        if row["state"] in MEASURED and row["kind"] != "baseline":
            checked = " checked" if number in ticked else ""
            box = f'<input class="pick" type="checkbox" value="{number}"{checked}>'
            title = row["folder"]
            text = f'<label>{box}<span class="swatch" aria-hidden="true"></span>{text}</label>'
        yield f'<th scope="row" class="name" title="{escape(title)}">{text}</th>'


def _verdict(verdict: str, reason: str, p_value: str) -> str:
    style = {BETTER: " better", WORSE: " worse"}.get(verdict, "")
    wide = " long" if len(verdict_text(verdict, reason)) > LONG else ""
    more = f' <span class="reason">{escape(reason)}</span>' if reason else ""
    # A long state, such as the error of a failed run, would be a pill of several lines.
    is_pill = 0 < len(verdict) <= LONGEST_PILL
    shown = f'<span class="verdict{style}">{escape(verdict)}</span>' if is_pill else escape(verdict)
    return f'<td class="verdicts{wide}">{shown}{more}{_below(f"p {p_value}" if p_value else "")}</td>'


def _below(text: str) -> str:
    return f'<br><small class="below">{escape(text)}</small>' if text else ""


def _breakable(text: str, long_word: int = LONG_NAME) -> str:
    """Return a text whose long names may be broken after one of their parts."""
    parts = re.split(rf"(\S{{{long_word},}})", text)
    # Every other part is a long word.
    return "".join(
        re.sub(r"([,/_]|\.(?=[a-z]))(?=\S)", r"\1<wbr>", escape(part)) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page's script reads."""
    named = zip(comparison.rows["name"], labels(comparison), comparison.rows["verdict"], strict=True)
    return {
        "rows": [
            {"name": name, "label": label, "baseline": at == comparison.baseline, "verdict": verdict}
            for at, (name, label, verdict) in enumerate(named)
        ],
        "curves": curves(comparison),
        "fronts": {name: _fronts(comparison, name) for name in COST_NAMES},
        "parallel": _parallel_axes(comparison),
        "slices": _slices(comparison),
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
            for at, x, y in zip(
                shown.index.tolist(), shown[key].tolist(), shown[quality].tolist(), strict=True
            )
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
