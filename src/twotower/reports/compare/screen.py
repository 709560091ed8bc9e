"""The comparison on the console."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.differences import telling_keys
from twotower.reports.compare.judge import BETTER, WORSE
from twotower.reports.compare.table import Column, columns_of, pair_columns, summary

WIDE = 400
"""Columns where no terminal sets a limit: a table in a file or a pipe is not cut."""
LEAST_NAME, LEAST_VERDICT, MOST_VERDICT = 32, 20, 76
LONG_HEADING = 12
STYLES = {BETTER: "green", WORSE: "red", "the baseline": "bold"}


def show(comparison: Comparison) -> None:
    """Print the table, all pairs if they were asked for, and what to know of them."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    shown: list[str] = []
    for narrower, shown in _ever_narrower(comparison):
        table = _table(columns_of(narrower, shown))
        if _least(console, table) <= console.width:
            break
    pairs = [_table(pair_columns(comparison))] if comparison.pairs else []
    for each in [table, *pairs]:
        console.print(each, width=max(console.width, _least(console, each)))
    for line in [*_hidden(comparison, shown), *summary(comparison)]:
        console.print(line, soft_wrap=True)


def _least(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update_width(10**6), table).minimum


def _ever_narrower(comparison: Comparison) -> Iterator[tuple[Comparison, list[str]]]:
    """Return what to show, and then with ever less: settings make room for figures; all files have all."""
    keys = telling_keys(comparison.keys, comparison.records)
    for number in range(len(keys), -1, -1):
        yield comparison, keys[:number]
    for number in range(len(comparison.columns) - 1, -1, -1):
        yield replace(comparison, columns=comparison.columns[:number]), []
    rows = [replace(row, spread=None) for row in comparison.rows]
    yield replace(comparison, columns=[], rows=rows), []


def _hidden(comparison: Comparison, shown: Sequence[str]) -> list[str]:
    hidden = [key for key in comparison.keys if key not in shown]
    if not hidden:
        return []
    named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
    return [f"settings that differ but are not shown: {len(hidden)} ({named}); csv, json and html have all"]


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    first, last = columns[0], columns[-1]
    for column in columns:
        longest = max(map(len, column.cells), default=0)
        table.add_column(
            Align(Text(_folded(column.heading)), "left" if column.words else "right", vertical="bottom"),
            justify="left" if column.words else "right",
            no_wrap=column is not first and column is not last,
            overflow="fold",
            min_width=min(longest, LEAST_NAME if column is first else LEAST_VERDICT),
            max_width=MOST_VERDICT if column is last else None,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        style = next((style for word, style in STYLES.items() if cells[-1].startswith(word)), "")
        table.add_row(*map(Text, cells[:-1]), Text(cells[-1], style=style))
    return table


def _folded(heading: str) -> str:
    if len(heading) <= LONG_HEADING or set(heading) & set("±%"):
        return heading
    before, dot, after = heading.rpartition(".")
    return f"{before}.\n{after}" if dot else heading.replace(" ", "\n", 1)
