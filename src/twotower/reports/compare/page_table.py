"""The tables of the page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from twotower.reports.compare.comparison import BETTER, WORSE, Comparison
from twotower.reports.compare.differences import shown_value, telling_keys
from twotower.reports.compare.metric import label, written
from twotower.reports.compare.page_data import Curves, picked
from twotower.reports.compare.report import Report, Row
from twotower.reports.compare.table import difference_texts, reason_beside, told

LONGEST_PILL = 40
REGION = '<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def run_table(report: Report) -> tuple[str, int]:
    """Return the table of rows, the telling settings first, and how many settings are hidden at first."""
    shown = telling_keys(report.keys, report.records)
    hidden = [key for key in report.keys if key not in shown]
    spreads = any(row.spread for row in report.rows)
    tests = any(row.comparison and row.comparison.tested for row in report.rows)
    heads = [_head("#", "number"), _head("run", "name"), _head(label(report.metric), "number")]
    heads += [_head("difference", "number"), _head("verdict")]
    heads += [_head("95 % interval", "number"), _head("corrected p", "number")] if tests else []
    heads += [_head("mean over seeds", "number"), _head("sd (seeds)", "number")] if spreads else []
    heads += [_head(label(key), "number") for key in report.columns]
    heads += [*(_head(key) for key in shown), *(_head(key, "extra") for key in hidden)]
    ticked = picked(report)
    rows = "".join(
        _run_row(report, row, (number, number in ticked), (spreads, tests), (shown, hidden))
        for number, row in enumerate(report.rows, start=1)
    )
    return _sortable("Runs", heads, rows, ' id="table"'), len(hidden)


def _run_row(
    report: Report,
    row: Row,
    place: tuple[int, bool],
    parts: tuple[bool, bool],
    keys: tuple[Sequence[str], Sequence[str]],
) -> str:
    number, ticked = place
    spreads, tests = parts
    cells = [_cell(str(number), number), _name(row, number, ticked), _figure(report.metric, row.value)]
    delta, *test = _difference(report.metric, row.comparison)
    cells += [delta, _verdict(row.verdict, reason_beside(row)), *(test if tests else ())]
    if spreads:
        spread = row.spread
        cells.append(_figure(report.metric, spread.mean if spread else None))
        text = f"{written(report.metric, spread.sd)} ({spread.num_seeds})" if spread else ""
        cells.append(_cell(text, spread.sd if spread else ""))
    cells += [_figure(key, row.entry.figures.get(key)) for key in report.columns]
    for names, style in zip(keys, ("", "extra"), strict=True):
        cells += [f'<td class="{style}">{escape(_setting(row, key))}</td>' for key in names]
    style = ' class="baseline"' if row.entry is report.baseline else ""
    return f"<tr{style}>{''.join(cells)}</tr>"


def _breakable(name: str) -> str:
    """Return a long name that breaks where one of its parts ends, so that its end, which tells, is seen."""
    return name.replace(",", ",<wbr>").replace("/", "/<wbr>")


def _name(row: Row, number: int, ticked: bool) -> str:
    name = escape(row.entry.name)
    if not row.entry.figures or row.entry.kind == "baseline":
        return f'<th scope="row" class="name" title="{name}">{name}</th>'
    box = f'<input class="pick" type="checkbox" value="{number}"{" checked" if ticked else ""}>'
    swatch = '<span class="swatch" aria-hidden="true"></span>'
    return (
        f'<th scope="row" class="name" title="{escape(str(row.entry.run.folder))}"><label>{box}{swatch}'
        f'<span class="text">{_breakable(name)}</span></label></th>'
    )


def _setting(row: Row, key: str) -> str:
    return "" if row.entry.kind == "baseline" else shown_value(row.entry.run.settings, key)


def _difference(metric: str, comparison: Comparison | None) -> list[str]:
    delta, interval, p_value = difference_texts(metric, comparison)
    tested = comparison.tested if comparison else None
    return [
        _cell(delta, comparison.delta if comparison and comparison.delta is not None else ""),
        _cell(interval, tested.low if tested else ""),
        _cell(p_value, tested.corrected if tested else ""),
    ]


def _verdict(verdict: str, reason: str) -> str:
    style = {BETTER: " better", WORSE: " worse"}.get(verdict, "")
    wide = ' class="long"' if len(told(verdict, reason)) > 40 else ""
    more = f' <span class="reason">{escape(reason)}</span>' if reason else ""
    pill = f'<span class="verdict{style}">{escape(verdict)}</span>'
    # A long state, as of a failed run, would be a pill of several lines.
    return f"<td{wide}>{pill if verdict and len(verdict) <= LONGEST_PILL else escape(verdict)}{more}</td>"


def pair_table(report: Report) -> str:
    """Return all pairs, the left one judged against the right."""
    heads = [_head("run", "name"), _head("against")]
    heads += [_head(name, "number") for name in ("difference", "95 % interval", "corrected p")]
    rows = "".join(
        f'<tr><th scope="row" class="name">{escape(pair.left.name)}</th><td>{escape(pair.right.name)}</td>'
        f"{''.join(_difference(report.metric, pair))}{_verdict(pair.verdict, pair.reason)}</tr>"
        for pair in report.pairs
    )
    return _sortable("All pairs", [*heads, _head("verdict")], rows)


def curve_table(report: Report, curves: Curves) -> str:
    """Return, folded away, the best epoch of each row by the first curve."""
    ways = {key: report.higher_is_better(key) for key in curves}
    key = next((key for key, higher in ways.items() if higher is not None), None)
    if key is None:
        return ""
    of_rows, best = curves[key], max if ways[key] else min
    heads = [_head("#", "number"), _head("run", "name"), _head(f"best {key}", "number")]
    heads += [_head("after epoch", "number"), _head("epochs", "number")]
    rows = ""
    for number, values in sorted(of_rows.items()):
        reached = best(value for value in values if value is not None)
        epoch = values.index(reached) + 1
        cells = [_figure(key, reached), _cell(str(epoch), epoch), _cell(str(len(values)), len(values))]
        rows += f"<tr>{_numbered(report, number)}{''.join(cells)}</tr>"
    return _folded("Best epochs as a table", _sortable("Best epochs", heads, rows))


def slice_table(report: Report, slices: Mapping[str, Any]) -> str:
    """Return, folded away, the metric of each row over slices."""
    names = [text.replace("<br>", ", ") for text in slices["labels"]]
    users = [f" ({count:,} users)" if count is not None else "" for count in slices["users"]]
    heads = [_head("#", "number"), _head("run", "name")]
    heads += [_head(name + count, "number") for name, count in zip(names, users, strict=True)]
    rows = "".join(
        f"<tr>{_numbered(report, number)}{''.join(_figure(report.metric, each) for each in values)}</tr>"
        for number, values in slices["values"].items()
    )
    return _folded("Slices as a table", _sortable("Slices", heads, rows))


def _sortable(name: str, heads: Sequence[str], rows: str, more: str = "") -> str:
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    table = f'<table class="sortable"{more}>{head}<tbody>{rows}</tbody></table>'
    return REGION.format(name=name, table=table)


def _numbered(report: Report, number: int) -> str:
    name = escape(report.rows[number - 1].entry.name)
    return f'{_cell(str(number), number)}<th scope="row" class="name">{name}</th>'


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>"


def _head(text: str, style: str = "") -> str:
    return f'<th scope="col" class="{style}"><button type="button">{escape(text)}</button></th>'


def _figure(key: str, value: float | None) -> str:
    return _cell(written(key, value), "" if value is None else value)


def _cell(text: str, value: float | str) -> str:
    return f'<td class="number" data-value="{value}">{escape(text)}</td>'
