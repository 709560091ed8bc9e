"""The comparison as one self-contained page."""

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.reports.compare.columns import (
    DIFFERENCE,
    INTERVAL,
    P_VALUE,
    SPREAD,
    VERDICT,
    WHAT_DIFFERS,
    Column,
    figures_of,
    label_of,
    numbers_of,
    pair_columns,
    reason_beside,
    settings_of,
    told_of,
)
from twotower.reports.compare.comparison import Comparison, Row, shared_note, summary, telling_keys
from twotower.reports.compare.entries import label, validation_key, written
from twotower.reports.compare.judge import BETTER, WORSE
from twotower.reports.compare.page_data import Curves, page_data, picked

WAYS = {True: "more", False: "less", None: "neither more nor less"}
LONGEST_PILL, LONG = 40, 40
LONG_NAME, LONG_HEADING = 20, 12
NO_BREAK = "\N{NO-BREAK SPACE}"
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
        metric=escape(label(comparison.metric)),
        summary=_summary(comparison),
        num_settings=len(comparison.keys),
        table=_run_table(comparison, telling),
        pairs=_pairs(comparison, telling) if comparison.pairs else "",
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
    # What is written of single runs stands in their rows.
    lines = summary(comparison, own=bool(shared_note(comparison.rows)))
    items = [
        f"<li{' class=note' if line.startswith('note:') else ''}>{_breakable(line)}</li>" for line in lines
    ]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _pairs(comparison: Comparison, telling: Sequence[str]) -> str:
    *columns, _ = pair_columns(comparison, telling)
    told = [(pair.verdict, pair.reason) for pair in comparison.pairs]
    return _table("All pairs", [*map(_cells, columns), _verdicts(told)])


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
    shared = shared_note(rows)
    names = [
        _head(WHAT_DIFFERS, "name"),
        *(
            _name(row, at, at in ticked, label_of(row, telling), shared)
            for at, row in enumerate(rows, start=1)
        ),
    ]
    settings = [*_settings(comparison, telling, "setting")]
    settings += _settings(comparison, [key for key in comparison.keys if key not in telling], "setting extra")
    shown = [_cells(numbers_of(comparison)), names, *settings, *_figures(comparison)]
    styles = ["baseline" if row.entry is comparison.baseline else "" for row in rows]
    return _table("Runs", shown, ' id="table"', styles)


def _figures(comparison: Comparison) -> Iterator[Cells]:
    """Yield the metric of both splits, difference and verdict, and then the other figures.

    In this order the verdict, which stays in sight, covers nothing that it is about. An interval is below its
    difference, a p below its verdict.
    """
    columns = {column.heading: column for column in figures_of(comparison)}
    for heading in (label(validation_key(comparison.metric)), label(comparison.metric), SPREAD):
        if heading in columns:
            yield _cells(columns.pop(heading))
    nothing = [""] * len(comparison.rows)
    deltas = columns.pop(DIFFERENCE)
    del columns[VERDICT]
    intervals, p_values = (columns.pop(each, Column(each, nothing)).cells for each in (INTERVAL, P_VALUE))
    tested = any(intervals)
    yield [
        _head(f"{DIFFERENCE}, {INTERVAL.replace(' ', NO_BREAK)}" if tested else DIFFERENCE, "number"),
        *(
            f'<td class="number">{escape(delta)}{_below(interval)}</td>'
            for delta, interval in zip(deltas.cells, intervals, strict=True)
        ),
    ]
    told = [(row.verdict, reason_beside(row)) for row in comparison.rows]
    yield _verdicts(told, [f"p {value}" if value else "" for value in p_values])
    yield from map(_cells, columns.values())


def _below(text: str) -> str:
    return f'<br><small class="below">{escape(text)}</small>' if text else ""


def _settings(comparison: Comparison, keys: Sequence[str], style: str) -> Iterator[Cells]:
    """Yield a column a setting in short words, of which the heading and each cell hold the whole."""
    pairs = zip(keys, settings_of(comparison, keys, short=True), settings_of(comparison, keys), strict=True)
    for key, short, full in pairs:
        of = style if short.words else f"{style} number"
        cells = (
            f'<td class="{of}" title="{escape(whole)}">{escape(text)}</td>'
            for text, whole in zip(short.cells, full.cells, strict=True)
        )
        yield [_head(short.heading, of, key), *cells]


def _breakable(text: str, long_word: int = LONG_NAME) -> str:
    """Return a text whose long names may go on in the next line, behind a part of theirs."""
    parts = re.split(rf"(\S{{{long_word},}})", text)
    # Every other part is a long word.
    return "".join(
        re.sub(r"([,/_]|\.(?=[a-z]))(?=\S)", r"\1<wbr>", escape(part)) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def _name(row: Row, number: int, ticked: bool, what: str, shared: str) -> str:
    """Return what differs, and under it where the run lies and what its user wrote of it alone."""
    name = row.entry.name
    told = _breakable(name)
    if name != what:
        words = (f'<span class="word">{escape(word)}</span>' for word in what.split())
        told = " ".join(words)
        told += f'<br><small class="folder">{_breakable(name)}</small>'
    if row.entry.trained and (note := row.entry.run.note) and note != shared:
        told += f'<br><small class="own">{escape(note)}</small>'
    text = f'<span class="text">{told}</span>'
    if not row.entry.figures or not row.entry.trained:
        return f'<th scope="row" class="name" title="{escape(name)}">{text}</th>'
    box = f'<input class="pick" type="checkbox" value="{number}"{" checked" if ticked else ""}>'
    return (
        f'<th scope="row" class="name" title="{escape(str(row.entry.run.folder))}"><label>{box}'
        f'<span class="swatch" aria-hidden="true"></span>{text}</label></th>'
    )


def _verdicts(told: Sequence[tuple[str, str]], p_values: Sequence[str] = ()) -> Cells:
    cells = (
        _verdict(*each, p_value) for each, p_value in zip(told, p_values or [""] * len(told), strict=True)
    )
    return [_head(VERDICT, "verdicts"), *cells]


def _verdict(verdict: str, reason: str, p_value: str) -> str:
    style = {BETTER: " better", WORSE: " worse"}.get(verdict, "")
    wide = " long" if len(told_of(verdict, reason)) > LONG else ""
    more = f' <span class="reason">{escape(reason)}</span>' if reason else ""
    pill = f'<span class="verdict{style}">{escape(verdict)}</span>'
    # A long state, as of a failed run, would be a pill of several lines.
    shown = pill if verdict and len(verdict) <= LONGEST_PILL else escape(verdict)
    return f'<td class="verdicts{wide}">{shown}{more}{_below(p_value)}</td>'


def _cells(column: Column, style: str = "") -> Cells:
    style = style or ("" if column.words else "number")
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
