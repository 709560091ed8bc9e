"""The comparison as one self-contained page."""

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from twotower.reports.compare.page_data import page_data
from twotower.reports.compare.page_table import curve_table, pair_table, run_table, slice_table
from twotower.reports.compare.report import Report
from twotower.reports.compare.table import summary

SEVERAL_SETTINGS = (
    '<label><input id="all-settings" type="checkbox"> all {number} settings that differ</label>'
)

WAYS = {True: "more", False: "less", None: "neither more nor less"}


def as_html(report: Report) -> str:
    """Return the page, which loads nothing: table, learning curves, Pareto fronts, axes, slices."""
    from plotly.offline import get_plotlyjs

    data = page_data(report)
    table, num_hidden = run_table(report)
    lead = f"Compared by {report.metric}; {WAYS[report.higher_is_better(report.metric)]} is better."
    return Template(_file("page.html")).substitute(
        title=escape(f"Comparison of {len(report.records)} runs"),
        lead=escape(lead),
        summary=_summary(report),
        more_settings=SEVERAL_SETTINGS.format(number=len(report.keys)) if num_hidden else "",
        table=table,
        sections="\n".join(filter(None, _sections(report, data))),
        css=_file("page.css"),
        js=_file("page.js"),
        plotly=get_plotlyjs(),
        data=_embedded(data),
    )


def _file(name: str) -> str:
    return (files("twotower.reports.compare") / name).read_text(encoding="utf-8")


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON in which no text can end the script element."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _summary(report: Report) -> str:
    lines = summary(report)
    items = [f"<li{' class=note' if line.startswith('note:') else ''}>{escape(line)}</li>" for line in lines]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _sections(report: Report, data: dict[str, Any]) -> list[str]:
    return [
        _section("pairs", "All pairs", pair_table(report)) if report.pairs else "",
        _curves(report, data) if data["curves"] else "",
        _fronts(data) if any(data["fronts"].values()) else "",
        _parallel() if data["parallel"] else "",
        _slices(report, data) if data["slices"] else "",
    ]


def _section(name: str, title: str, content: str) -> str:
    return f'<section aria-labelledby="h-{name}"><h2 id="h-{name}">{title}</h2>\n{content}\n</section>'


def _plot(name: str, told: str) -> str:
    return f'<div class="plot" id="{name}" role="img" aria-label="{escape(told)}"></div>'


def _select(name: str, title: str, options: list[tuple[str, str]]) -> str:
    chosen = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<p class="controls"><label>{title} <select id="{name}">{chosen}</select></label></p>'


def _curves(report: Report, data: dict[str, Any]) -> str:
    select = _select("curve", "Figure", [(key, key) for key in data["curves"]])
    hint = '<p class="hint">Of the first phase, an epoch a point; rows without a tick are grey.</p>'
    plot = _plot("curves", "Learning curves; the best epoch of each run is in the table below")
    content = f"{hint}{select}<figure>{plot}</figure>{curve_table(report, data['curves'])}"
    return _section("curves", "Learning curves", content)


def _fronts(data: dict[str, Any]) -> str:
    shown = {name: plots for name, plots in data["fronts"].items() if plots}
    qualities = [(str(at), plot["y"]) for at, plot in enumerate(next(iter(shown.values())))]
    titles = {"latency": "against latency", "bytes": "against size"}
    figures = "".join(
        f"<figure><h3>Recall {title}</h3>{_plot(name, f'Recall {title}; the front is listed below')}"
        f'<figcaption class="front" id="{name}-front"></figcaption></figure>'
        for name, title in titles.items()
        if name in shown
    )
    hint = (
        '<p class="hint">The front (filled, numbered as in the table) holds the runs that no other is both '
        "cheaper and better than. “Through the index” is the test figure less what the index cost on the "
        "validation split.</p>"
    )
    content = f'{hint}{_select("front-y", "Quality", qualities)}<div class="two">{figures}</div>'
    return _section("fronts", "Recall against cost", content)


def _parallel() -> str:
    hint = (
        '<p class="hint">A line is a run. Drag along an axis to keep only some of its values, drag an axis '
        "by its name to move it, click the axis to clear.</p>"
    )
    plot = _plot(
        "parallel", "Parallel coordinates of settings and figures; all of them are in the table of runs"
    )
    return _section("parallel", "Settings and figures", f"{hint}<figure>{plot}</figure>")


def _slices(report: Report, data: dict[str, Any]) -> str:
    hint = (
        '<p class="hint">For which items and users a result holds; the ticked rows. Item slices count only '
        "the targets inside them.</p>"
    )
    plot = _plot("slices", "The metric over slices of items and users; the figures are in the table below")
    content = f"{hint}<figure>{plot}</figure>{slice_table(report, data['slices'])}"
    return _section("slices", "Slices", content)
