"""The comparison as one self-contained page."""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.reports.compare.columns import (
    Column,
    columns_of,
    label_of,
    numbers_of,
    pair_columns,
    reason_beside,
    told_of,
)
from twotower.reports.compare.comparison import Comparison, Row, summary, telling_keys
from twotower.reports.compare.entries import written
from twotower.reports.compare.judge import BETTER, WORSE
from twotower.reports.compare.page_data import Curves, page_data, picked

WAYS = {True: "more", False: "less", None: "neither more nor less"}
LONGEST_PILL, LONG = 40, 40
Cells = Sequence[str]
"""Of one column, as `td` and `th`, the heading's first."""


def as_html(comparison: Comparison) -> str:
    """Return the page, which loads nothing: table, learning curves, Pareto fronts, axes, slices."""
    from plotly.offline import get_plotlyjs

    data = page_data(comparison)
    telling = telling_keys(comparison.keys, comparison.records)
    way = WAYS[comparison.higher_is_better(comparison.metric)]
    return Template(_file("page.html")).substitute(
        title=escape(f"Comparison of {len(comparison.records)} runs"),
        lead=escape(f"Compared by {comparison.metric}; {way} is better."),
        summary=_summary(comparison),
        num_settings=len(comparison.keys) if len(telling) < len(comparison.keys) else "",
        table=_run_table(comparison, telling),
        pairs=_pairs(comparison) if comparison.pairs else "",
        best_epochs=curve_table(comparison, data["curves"]) if data["curves"] else "",
        slice_table=_slice_table(comparison, data["slices"]) if data["slices"] else "",
        css=_file("page.css"),
        js=_file("page.js"),
        plotly=get_plotlyjs(),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # no text ends the script element
    )


def _file(name: str) -> str:
    return (files("twotower.reports.compare") / name).read_text(encoding="utf-8")


def _summary(comparison: Comparison) -> str:
    lines = summary(comparison)
    items = [f"<li{' class=note' if line.startswith('note:') else ''}>{escape(line)}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _pairs(comparison: Comparison) -> str:
    name, *numbers, _ = pair_columns(comparison)
    told = [(pair.verdict, pair.reason) for pair in comparison.pairs]
    return _table("All pairs", [*map(_cells, [name, *numbers]), _verdicts(told)])


def _slice_table(comparison: Comparison, slices: dict[str, Any]) -> str:
    names = [text.replace("<br>", ", ") for text in slices["labels"]]
    users = [f" ({count:,} users)" if count is not None else "" for count in slices["users"]]
    figures = [
        Column(name + count, [written(comparison.metric, values[at]) for values in slices["values"].values()])
        for at, (name, count) in enumerate(zip(names, users, strict=True))
    ]
    return _folded_table(comparison, "Slices", list(slices["values"]), figures)


def curve_table(comparison: Comparison, curves: Curves) -> str:
    """Return, folded away, the best epoch of each row by the first curve that has a better direction."""
    ways = {key: comparison.higher_is_better(key) for key in curves}
    key = next((key for key, higher in ways.items() if higher is not None), None)
    if key is None:
        return ""
    of_rows = dict(sorted(curves[key].items()))
    best = max if ways[key] else min
    reached = [best(value for value in values if value is not None) for values in of_rows.values()]
    epochs = [values.index(value) + 1 for values, value in zip(of_rows.values(), reached, strict=True)]
    figures = [
        Column(f"best {key}", [written(key, value) for value in reached]),
        Column("after epoch", list(map(str, epochs))),
        Column("epochs", [str(len(values)) for values in of_rows.values()]),
    ]
    return _folded_table(comparison, "Best epochs", list(of_rows), figures)


def _folded_table(comparison: Comparison, name: str, numbers: list[int], figures: list[Column]) -> str:
    keys = telling_keys(comparison.keys, comparison.records)
    names = Column("run", [label_of(comparison.rows[number - 1], keys) for number in numbers], True)
    columns = [Column("#", list(map(str, numbers))), names, *figures]
    table = _table(name, list(map(_cells, columns)))
    return f"<details><summary>{name} as a table</summary>{table}</details>"


def _run_table(comparison: Comparison, telling: Sequence[str]) -> str:
    rows, ticked = comparison.rows, picked(comparison)
    keys = [*telling, *(key for key in comparison.keys if key not in telling)]
    *columns, _ = columns_of(comparison, keys)
    labels = [label_of(row, telling) for row in rows]
    names = [
        _head("run", "name"),
        *(_name(row, at, at in ticked, labels[at - 1]) for at, row in enumerate(rows, start=1)),
    ]
    told = [(row.verdict, reason_beside(row)) for row in rows]
    settings = [_cells(each, "" if each.heading in telling else "extra") for each in columns[: len(keys)]]
    figures = map(_cells, columns[len(keys) :])
    shown = [_cells(numbers_of(comparison)), names, *settings, *figures, _verdicts(told)]
    styles = ["baseline" if row.entry is comparison.baseline else "" for row in rows]
    return _table("Runs", shown, ' id="table"', styles)


def _name(row: Row, number: int, ticked: bool, label: str) -> str:
    """Return what differs, and under it where the run lies."""
    name = row.entry.name
    told = escape(label)
    if name != label:
        breakable = escape(name).replace(",", ",<wbr>").replace("/", "/<wbr>").replace("_", "_<wbr>")
        told += f'<br><small class="folder">{breakable}</small>'
    text = f'<span class="text">{told}</span>'
    if not row.entry.figures or not row.entry.trained:
        return f'<th scope="row" class="name" title="{escape(name)}">{text}</th>'
    box = f'<input class="pick" type="checkbox" value="{number}"{" checked" if ticked else ""}>'
    return (
        f'<th scope="row" class="name" title="{escape(str(row.entry.run.folder))}"><label>{box}'
        f'<span class="swatch" aria-hidden="true"></span>{text}</label></th>'
    )


def _verdicts(told: Sequence[tuple[str, str]]) -> Cells:
    return [_head("verdict"), *(_verdict(verdict, reason) for verdict, reason in told)]


def _verdict(verdict: str, reason: str) -> str:
    style = {BETTER: " better", WORSE: " worse"}.get(verdict, "")
    wide = ' class="long"' if len(told_of(verdict, reason)) > LONG else ""
    more = f' <span class="reason">{escape(reason)}</span>' if reason else ""
    pill = f'<span class="verdict{style}">{escape(verdict)}</span>'
    # A long state, as of a failed run, would be a pill of several lines.
    return f"<td{wide}>{pill if verdict and len(verdict) <= LONGEST_PILL else escape(verdict)}{more}</td>"


def _cells(column: Column, style: str = "") -> Cells:
    style = style or ("" if column.words else "number")
    cells = (f'<td class="{style}">{escape(text)}</td>' for text in column.cells)
    return [_head(column.heading, style), *cells]


def _head(text: str, style: str = "") -> str:
    return f'<th scope="col" class="{style}"><button type="button">{escape(text)}</button></th>'


def _table(name: str, columns: Sequence[Cells], more: str = "", styles: Sequence[str] = ()) -> str:
    head, *rows = ("".join(cells) for cells in zip(*columns, strict=True))
    classes = [f' class="{style}"' if style else "" for style in styles] or [""] * len(rows)
    body = "".join(f"<tr{style}>{row}</tr>" for style, row in zip(classes, rows, strict=True))
    table = f'<table class="sortable"{more}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'
