"""The comparison on the console, as wide as that is."""

import os
import textwrap
from collections.abc import Iterator, Sequence

from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.columns import (
    INTERVAL,
    P_VALUE,
    VERDICT,
    WHAT_DIFFERS,
    Column,
    built_in_of,
    figures_of,
    labels_of,
    names_of,
    numbers_of,
    pair_columns,
    settings_of,
)
from twotower.reports.compare.comparison import Comparison, summary, telling_keys
from twotower.reports.compare.entries import label, validation_key
from twotower.reports.compare.judge import BETTER, WORSE
from twotower.reports.compare.record import shared_folder

WIDE, WIDEST = 400, 10**6
"""Columns where no terminal sets a limit: a table in a file or a pipe is not cut."""
LEAST_TEXT, MOST_VERDICT, LONGEST_VERDICT = 19, 76, 24
"""Columns of words that wrap, at least; of a verdict with its reason, at most; of a verdict in one line."""
GAPS = (2, 1)
"""Columns between two columns of the table: the second where the first leaves no room."""
LONG_HEADING, MANY = 12, 12
STYLES = {BETTER: "green", WORSE: "red", "the baseline": "bold"}


def show(comparison: Comparison) -> None:
    """Print the table, all pairs if they were asked for, and what to know of them."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    if not has_width:
        console.width = WIDE
    keys = telling_keys(comparison.keys, comparison.records)
    columns = _print(console, _ever_narrower(comparison, keys))
    if comparison.pairs:
        _print(console, (pair_columns(comparison, each) for each in (keys, None)))
    for line in [*_folders(comparison, columns), *_hidden(comparison, keys), *summary(comparison)]:
        console.print(_wrapped(line, console.width) if has_width else line, soft_wrap=True)


def _wrapped(line: str, width: int) -> str:
    """Return a line broken between words; a path that is longer than a line stays whole, to be copied."""
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _print(console: Console, ever_narrower: Iterator[list[Column]]) -> list[Column]:
    """Print the first table that fits, or the last; return its columns.

    Settings in words are many: only the last table breaks them. No table breaks a verdict, only its reason.
    """
    for columns in ever_narrower:
        words = any(each.heading == WHAT_DIFFERS for each in columns)
        for gap in GAPS[len(columns) > MANY :]:
            table = _table(columns, gap)
            size = Measurement.get(console, console.options.update_width(WIDEST), table)
            if (size.maximum if words else size.minimum) <= console.width:
                break
        else:
            continue
        break
    Console(highlight=False, markup=False, width=max(console.width, size.minimum)).print(table)
    return columns


def _ever_narrower(comparison: Comparison, keys: Sequence[str]) -> Iterator[list[Column]]:
    """Yield what to show, settings first, and then with ever less; what tells rows apart stays.

    First folders make room, which are listed below then, then long names of settings, then figures, and
    last a column a setting for words in one column. All files have all.
    """
    names, number, figures = names_of(comparison), numbers_of(comparison), figures_of(comparison)
    if keys:
        named = [number, *built_in_of(comparison)]
        yield [*named, *settings_of(comparison, keys), *figures, names]
        yield [*named, *settings_of(comparison, keys), *figures]
        short = settings_of(comparison, keys, short=True)
        yield from ([*named, *short, *fewer] for fewer in _ever_fewer(comparison, figures))
    told = labels_of(comparison, keys) if keys else names
    yield from ([number, told, *fewer] for fewer in _ever_fewer(comparison, figures))


def _ever_fewer(comparison: Comparison, figures: list[Column]) -> Iterator[list[Column]]:
    """Yield the figures, and then with ever fewer of them, down to the metric of both splits."""
    yield figures
    metric = comparison.metric
    stay = {label(metric), label(validation_key(metric)), "difference", VERDICT}
    for heading in [INTERVAL, P_VALUE, *reversed([each.heading for each in figures])]:
        if heading not in stay and any(each.heading == heading for each in figures):
            figures = [each for each in figures if each.heading != heading]
            yield figures


def _folders(comparison: Comparison, columns: Sequence[Column]) -> list[str]:
    """Return where the rows lie, where the table does not have it."""
    names = names_of(comparison)
    if any(each.heading == names.heading for each in columns):
        return []
    rows = enumerate(comparison.rows, start=1)
    lines = [f"#{number} {row.entry.name}" for number, row in rows if row.entry.trained]
    return [f"folders in {shared_folder(comparison.records)}:", *lines]


def _hidden(comparison: Comparison, shown: Sequence[str]) -> list[str]:
    hidden = [key for key in comparison.keys if key not in shown]
    if not hidden:
        return []
    named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
    return [f"settings that differ but are not shown: {len(hidden)} ({named}); csv, json and html have all"]


def _table(columns: Sequence[Column], gap: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    for column in columns:
        heading = _folded(column.heading)
        longest = max(map(len, [*heading.split("\n"), *column.cells]))
        is_verdict = column.heading == VERDICT
        wraps = is_verdict or column.heading == WHAT_DIFFERS
        verdicts = [len(cell.partition(",")[0]) + 1 for cell in column.cells if is_verdict]
        least = min(max(verdicts, default=0), LONGEST_VERDICT) if is_verdict else LEAST_TEXT
        table.add_column(
            Align(Text(heading), "left" if column.words else "right", vertical="bottom"),
            justify="left" if column.words else "right",
            no_wrap=not wraps,
            overflow="fold",
            min_width=min(longest, least) if wraps else longest,
            max_width=MOST_VERDICT if is_verdict else None,
        )
    at = [column.heading for column in columns].index(VERDICT)
    for cells in zip(*(column.cells for column in columns), strict=True):
        row = list(map(Text, cells))
        row[at].style = next((style for word, style in STYLES.items() if cells[at].startswith(word)), "")
        table.add_row(*row)
    return table


def _folded(heading: str) -> str:
    """Return a long heading in two lines, broken behind a dot, at a space or behind a word."""
    if len(heading) <= LONG_HEADING or set(heading) & set("±%"):
        return heading
    for sign, kept in ((".", "."), (" ", ""), ("_", "_")):
        before, found, after = heading.rpartition(sign) if sign == "." else heading.partition(sign)
        if found:
            return f"{before}{kept}\n{after}"
    return heading
