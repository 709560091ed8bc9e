"""The comparison as one self-contained page."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.comparison_notes import main_keys, shared_note, summary
from twotower.reports.compare.figure_names import heading, validation_key
from twotower.reports.compare.page_data import page_data, picked
from twotower.reports.compare.run_frame import MEASURED, UNREADABLE
from twotower.reports.compare.text_columns import (
    DIFFERENCE,
    INTERVAL,
    P_VALUE,
    SPREAD,
    VERDICT,
    WHAT_DIFFERS,
    TextColumn,
    figure_columns,
    number_column,
    pair_columns,
    row_label,
    setting_columns,
    verdict_text,
)
from twotower.reports.compare.verdicts import BETTER, WORSE

DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no direction is better"}
LONGEST_PILL, LONG = 40, 40
LONG_NAME, LONG_HEADING = 20, 12
NO_BREAK = "\N{NO-BREAK SPACE}"
Cells = Sequence[str]
"""The `th` of the heading and a `td` per row of one column."""


def as_html(comparison: Comparison) -> str:
    """Return the page, which loads nothing: table, learning curves, Pareto fronts, settings, slices."""
    from plotly.offline import get_plotlyjs

    data = page_data(comparison)
    keys = main_keys(comparison)
    # Notes on single runs are in their rows.
    lines = summary(comparison, with_user_notes=bool(shared_note(comparison.rows)))
    pairs = ""
    if len(comparison.pairs):
        *columns, _ = pair_columns(comparison, keys)
        verdicts = list(zip(comparison.pairs["verdict"], comparison.pairs["reason"], strict=True))
        pairs = _table("All pairs", [*map(_cells, columns), _verdicts(verdicts)])
    direction = DIRECTIONS[comparison.higher_is_better(comparison.metric)]
    return Template(_file("page.html")).substitute(
        title=escape(f"Comparison of {len(comparison.runs)} runs"),
        lead=escape(f"Compared by {comparison.metric}; {direction}."),
        metric=escape(heading(comparison.metric)),
        summary="".join(
            f"<li{' class=note' if line.startswith('note:') else ''}>{_breakable(line)}</li>"
            for line in lines
        ),
        num_settings=len(comparison.keys),
        table=_run_table(comparison, keys),
        pairs=pairs,
        css=_file("page.css"),
        js=_file("page.js"),
        plotly=get_plotlyjs(),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # no text ends the script element
    )


def _file(name: str) -> str:
    return (files("twotower.reports.compare") / name).read_text(encoding="utf-8")


def _run_table(comparison: Comparison, keys: Sequence[str]) -> str:
    rows, ticked = comparison.records(), picked(comparison)
    shared = shared_note(comparison.rows)
    names = [
        _head(WHAT_DIFFERS, "name"),
        *(_name(row, at, at in ticked, row_label(row, keys), shared) for at, row in enumerate(rows, start=1)),
    ]
    settings = [*_settings(comparison, keys, "setting")]
    settings += _settings(comparison, [key for key in comparison.keys if key not in keys], "setting extra")
    shown = [_cells(number_column(comparison)), names, *settings, *_figures(comparison)]
    styles = ["baseline" if at == comparison.baseline else "" for at in range(len(rows))]
    return _table("Runs", shown, ' id="table"', styles)


def _figures(comparison: Comparison) -> Iterator[Cells]:
    """Yield the metric on both splits, difference and verdict, then the other figures.

    The verdict column stays in sight when the table is scrolled; in this order it does not cover its own
    figures. An interval is written below its difference, a p-value below its verdict.
    """
    columns = {column.heading: column for column in figure_columns(comparison)}
    for title in (heading(validation_key(comparison.metric)), heading(comparison.metric), SPREAD):
        if title in columns:
            yield _cells(columns.pop(title))
    nothing = [""] * len(comparison.rows)
    deltas = columns.pop(DIFFERENCE)
    del columns[VERDICT]
    intervals, p_values = (columns.pop(each, TextColumn(each, nothing)).cells for each in (INTERVAL, P_VALUE))
    tested = any(intervals)
    yield [
        _head(f"{DIFFERENCE}, {INTERVAL.replace(' ', NO_BREAK)}" if tested else DIFFERENCE, "number"),
        *(
            f'<td class="number">{escape(delta)}{_below(interval)}</td>'
            for delta, interval in zip(deltas.cells, intervals, strict=True)
        ),
    ]
    verdicts = [
        (row["verdict"], "" if row["verdict"] == UNREADABLE else row["reason"])
        for row in comparison.records()
    ]
    yield _verdicts(verdicts, [f"p {value}" if value else "" for value in p_values])
    yield from map(_cells, columns.values())


def _below(text: str) -> str:
    return f'<br><small class="below">{escape(text)}</small>' if text else ""


def _settings(comparison: Comparison, keys: Sequence[str], style: str) -> Iterator[Cells]:
    """Yield a column per setting in short words; the titles of its cells have the full text."""
    pairs = zip(
        keys, setting_columns(comparison, keys, short=True), setting_columns(comparison, keys), strict=True
    )
    for key, short, full in pairs:
        of = style if short.is_text else f"{style} number"
        cells = (
            f'<td class="{of}" title="{escape(whole)}">{escape(text)}</td>'
            for text, whole in zip(short.cells, full.cells, strict=True)
        )
        yield [_head(short.heading, of, key), *cells]


def _breakable(text: str, long_word: int = LONG_NAME) -> str:
    """Return a text whose long names may be broken after one of their parts."""
    parts = re.split(rf"(\S{{{long_word},}})", text)
    # Every other part is a long word.
    return "".join(
        re.sub(r"([,/_]|\.(?=[a-z]))(?=\S)", r"\1<wbr>", escape(part)) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def _name(row: Mapping[str, Any], number: int, ticked: bool, label: str, shared: str) -> str:
    """Return the label of a row, and below it its name and the user's note."""
    name = str(row["name"])
    content = _breakable(name)
    if name != label:
        content = " ".join(f'<span class="word">{escape(word)}</span>' for word in label.split())
        content += f'<br><small class="folder">{_breakable(name)}</small>'
    if (note := row["note"]) and note != shared:
        content += f'<br><small class="own">{escape(note)}</small>'
    text = f'<span class="text">{content}</span>'
    if row["state"] not in MEASURED or row["kind"] == "baseline":
        return f'<th scope="row" class="name" title="{escape(name)}">{text}</th>'
    box = f'<input class="pick" type="checkbox" value="{number}"{" checked" if ticked else ""}>'
    return (
        f'<th scope="row" class="name" title="{escape(row["folder"])}"><label>{box}'
        f'<span class="swatch" aria-hidden="true"></span>{text}</label></th>'
    )


def _verdicts(verdicts: Sequence[tuple[str, str]], p_values: Sequence[str] = ()) -> Cells:
    cells = [_head(VERDICT, "verdicts")]
    for (verdict, reason), p_value in zip(verdicts, p_values or [""] * len(verdicts), strict=True):
        style = {BETTER: " better", WORSE: " worse"}.get(verdict, "")
        wide = " long" if len(verdict_text(verdict, reason)) > LONG else ""
        more = f' <span class="reason">{escape(reason)}</span>' if reason else ""
        pill = f'<span class="verdict{style}">{escape(verdict)}</span>'
        # A long state, such as the error of a failed run, would be a pill of several lines.
        shown = pill if verdict and len(verdict) <= LONGEST_PILL else escape(verdict)
        cells.append(f'<td class="verdicts{wide}">{shown}{more}{_below(p_value)}</td>')
    return cells


def _cells(column: TextColumn, style: str = "") -> Cells:
    style = style or ("" if column.is_text else "number")
    cells = (f'<td class="{style}">{escape(text)}</td>' for text in column.cells)
    return [_head(column.heading, style), *cells]


def _head(text: str, style: str = "", whole: str = "") -> str:
    title = f' title="{escape(whole)}"' if whole else ""
    shown = _breakable(text, LONG_HEADING)
    return f'<th scope="col" class="{style}"{title}><button type="button">{shown}</button></th>'


def _table(name: str, columns: Sequence[Cells], more: str = "", styles: Sequence[str] = ()) -> str:
    head, *rows = ("".join(cells) for cells in zip(*columns, strict=True))
    classes = [f' class="{style}"' if style else "" for style in styles] or [""] * len(rows)
    body = "".join(f"<tr{style}>{row}</tr>" for style, row in zip(classes, rows, strict=True))
    table = f'<table class="sortable"{more}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'
