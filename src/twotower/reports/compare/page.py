"""The comparison as one self-contained page."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import heading, validation_key
from twotower.reports.compare.notes import shared_note, summary
from twotower.reports.compare.output_forms import (
    DIFFERENCE,
    INTERVAL,
    P_VALUE,
    SPREAD,
    VERDICT,
    WHAT_DIFFERS,
    TextColumn,
    figure_columns,
    label_column,
    number_column,
    setting_columns,
    verdict_pairs,
    verdict_text,
)
from twotower.reports.compare.page_data import page_data, picked
from twotower.reports.compare.run_frame import MEASURED, records
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
    ticked, shared = picked(comparison), shared_note(comparison.rows)
    named = zip(records(comparison.rows), label_column(comparison).cells, strict=True)
    names = [_name(row, at, at in ticked, label, shared) for at, (row, label) in enumerate(named, start=1)]
    other_keys = [key for key in comparison.keys if key not in comparison.main_keys]
    columns = [
        _text_column(number_column(comparison)),
        _column(WHAT_DIFFERS, names, "name"),
        *_settings(comparison, comparison.main_keys, "setting"),
        *_settings(comparison, other_keys, "setting extra"),
        *_figures(comparison),
    ]
    head, *rows = ("".join(cells) for cells in zip(*columns, strict=True))
    styles = [' class="baseline"' if at == comparison.baseline else "" for at in range(len(rows))]
    body = "".join(f"<tr{style}>{row}</tr>" for style, row in zip(styles, rows, strict=True))
    table = f'<table class="sortable" id="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" role="region" aria-label="Runs" tabindex="0">{table}</div>'


def _figures(comparison: Comparison) -> Iterator[Cells]:
    """Yield the metric on both splits, difference and verdict, then the other figures.

    The verdict column stays in sight when the table is scrolled; in this order it does not cover its own
    figures. An interval is written below its difference, a p-value below its verdict.
    """
    columns = {column.heading: column for column in figure_columns(comparison)}
    for title in (heading(validation_key(comparison.metric)), heading(comparison.metric), SPREAD):
        if title in columns:
            yield _text_column(columns.pop(title))
    differences, nothing = columns.pop(DIFFERENCE).cells, TextColumn("", [""] * len(comparison.rows))
    intervals, p_values = (columns.pop(each, nothing).cells for each in (INTERVAL, P_VALUE))
    title = f"{DIFFERENCE}, {INTERVAL.replace(' ', NO_BREAK)}" if any(intervals) else DIFFERENCE
    cells = (
        f'<td class="number">{escape(difference)}{_below(interval)}</td>'
        for difference, interval in zip(differences, intervals, strict=True)
    )
    yield _column(title, cells, "number")
    verdicts = zip(verdict_pairs(comparison.rows), p_values, strict=True)
    yield _column(VERDICT, (_verdict(*verdict, p_value) for verdict, p_value in verdicts), "verdicts")
    del columns[VERDICT]
    yield from map(_text_column, columns.values())


def _settings(comparison: Comparison, keys: Sequence[str], style: str) -> Iterator[Cells]:
    """Yield a column per setting in short words; the titles of its cells have the full text."""
    short, full = setting_columns(comparison, keys, short=True), setting_columns(comparison, keys)
    for key, column, whole in zip(keys, short, full, strict=True):
        of = style if column.is_text else f"{style} number"
        cells = (
            f'<td class="{of}" title="{escape(title)}">{escape(text)}</td>'
            for text, title in zip(column.cells, whole.cells, strict=True)
        )
        yield _column(column.heading, cells, of, key)


def _text_column(column: TextColumn) -> Cells:
    style = "" if column.is_text else "number"
    return _column(
        column.heading, (f'<td class="{style}">{escape(text)}</td>' for text in column.cells), style
    )


def _column(title: str, cells: Iterable[str], style: str, whole: str = "") -> Cells:
    shown = f' title="{escape(whole)}"' if whole else ""
    button = f'<button type="button">{_breakable(title, LONG_HEADING)}</button>'
    return [f'<th scope="col" class="{style}"{shown}>{button}</th>', *cells]


def _name(row: Mapping[str, Any], number: int, is_ticked: bool, label: str, shared: str) -> str:
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
    box = f'<input class="pick" type="checkbox" value="{number}"{" checked" if is_ticked else ""}>'
    return (
        f'<th scope="row" class="name" title="{escape(row["folder"])}"><label>{box}'
        f'<span class="swatch" aria-hidden="true"></span>{text}</label></th>'
    )


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
