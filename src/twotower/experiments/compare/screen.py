"""The comparison on the console."""

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.experiments.compare.comparison import BETTER, WORSE
from twotower.experiments.compare.differences import telling_keys
from twotower.experiments.compare.report import Report
from twotower.experiments.compare.table import Texts, pair_texts, summary, texts

WIDE = 400
"""Columns where no terminal sets a limit: a table in a file or a pipe is not cut."""
MOST_VERDICT = 76
STYLES = {BETTER: "green", WORSE: "red", "the baseline": "bold"}


def show(report: Report) -> None:
    """Print the table, all pairs if they were asked for, and what to know of them."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDE)
    shown = telling_keys(report.keys, report.records)
    table = _table(texts(report, shown))
    # Settings make room for figures; every form of file has them all.
    while shown and Measurement.get(console, console.options, table).minimum > console.width:
        shown = shown[:-1]
        table = _table(texts(report, shown))
    console.print(table)
    if report.pairs:
        console.print()
        console.print(_table(pair_texts(report)))
    for line in [*_hidden(report, shown), *summary(report)]:
        console.print(line, soft_wrap=True)


def _hidden(report: Report, shown: Sequence[str]) -> list[str]:
    hidden = [key for key in report.keys if key not in shown]
    if not hidden:
        return []
    named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
    return [
        f"settings that differ but are not shown: {len(hidden)} ({named}); --csv, --json and --html have all"
    ]


def _table(content: Texts) -> Table:
    headings, rows, num_words = content
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for position, heading in enumerate(headings):
        last = position == len(headings) - 1
        words = position < num_words or last
        table.add_column(
            heading,
            justify="left" if words else "right",
            no_wrap=not last,
            overflow="fold" if last else "ellipsis",
            min_width=None if position == 0 else (20 if last else min(len(heading), 12)),
        )
    for row in rows:
        verdict = row[-1]
        style = next((style for word, style in STYLES.items() if verdict.startswith(word)), "")
        told = verdict if len(verdict) <= MOST_VERDICT else f"{verdict[:MOST_VERDICT]}…"
        table.add_row(*(Text(cell) for cell in row[:-1]), Text(told, style=style))
    return table
