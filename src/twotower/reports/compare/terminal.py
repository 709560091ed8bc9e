"""The comparison on the console, fitted to its width."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import heading as heading_of
from twotower.reports.compare.figure_names import validation_key
from twotower.reports.compare.notes import BASELINE, summary
from twotower.reports.compare.output_forms import (
    DIFFERENCE,
    INTERVAL,
    P_VALUE,
    VERDICT,
    WHAT_DIFFERS,
    TextColumn,
    baseline_columns,
    figure_columns,
    label_column,
    name_column,
    number_column,
    setting_columns,
)
from twotower.reports.compare.run_frame import shared_folder
from twotower.reports.compare.verdicts import BETTER, WORSE

WIDE, WIDEST = 400, 10**6
"""Width without a terminal: a table in a file or a pipe is not cut."""
LEAST_TEXT, MOST_VERDICT, LONGEST_VERDICT = 19, 76, 24
"""Least width of texts that wrap; greatest width of a verdict with its reason, and of one line of it."""
GAPS = (2, 1)
"""Spaces between two columns: the second number where the first leaves no room."""
LONG_HEADING, MANY = 12, 12
STYLES = {BETTER: "green", WORSE: "red", BASELINE: "bold"}


def show(comparison: Comparison) -> None:
    """Print the table and the notes."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    if not has_width:
        console.width = WIDE
    columns = _print_table(console, _narrower_tables(comparison))
    lines = [] if name_column(comparison) in columns else _folders(comparison)
    if hidden := [key for key in comparison.keys if key not in comparison.main_keys]:
        named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
        lines.append(
            f"settings that differ but are not shown: {len(hidden)} ({named}); csv, json and html have all"
        )
    wrapper = textwrap.TextWrapper(
        console.width if has_width else WIDEST,
        subsequent_indent="  ",
        break_long_words=False,  # a path stays whole, so that it can be copied
        break_on_hyphens=False,
    )
    for line in [*lines, *summary(comparison)]:
        console.print(wrapper.fill(line), soft_wrap=True)


def _print_table(console: Console, tables: Iterator[list[TextColumn]]) -> list[TextColumn]:
    """Print the first table that fits, or the last one; return its columns.

    Only the last table breaks the texts of settings. No table breaks a verdict, only its reason.
    """
    for columns in tables:
        has_words = any(each.heading == WHAT_DIFFERS for each in columns)
        for gap in GAPS[len(columns) > MANY :]:
            table = _table(columns, gap)
            size = Measurement.get(console, console.options.update_width(WIDEST), table)
            if (size.maximum if has_words else size.minimum) <= console.width:
                console.print(table)
                return columns
    Console(highlight=False, markup=False, width=max(console.width, size.minimum)).print(table)
    return columns


def _narrower_tables(comparison: Comparison) -> Iterator[list[TextColumn]]:
    """Yield tables from the widest to the narrowest; all of them distinguish the rows.

    First the folders are left out (they are listed below the table), then names of settings are abbreviated,
    then figures are left out, and last the settings share one column. Files always have everything.
    """
    keys, names, number = comparison.main_keys, name_column(comparison), number_column(comparison)
    fewer_figures = list(_fewer_figures(comparison))
    if keys:
        named = [number, *baseline_columns(comparison)]
        settings = setting_columns(comparison, keys)
        yield [*named, *settings, *fewer_figures[0], names]
        yield [*named, *settings, *fewer_figures[0]]
        short = setting_columns(comparison, keys, short=True)
        yield from ([*named, *short, *figures] for figures in fewer_figures)
    labels = label_column(comparison) if keys else names
    yield from ([number, labels, *figures] for figures in fewer_figures)


def _fewer_figures(comparison: Comparison) -> Iterator[list[TextColumn]]:
    """Yield all figures, then fewer and fewer, down to the metric on both splits."""
    figures, metric = figure_columns(comparison), comparison.metric
    yield figures
    stay = {heading_of(metric), heading_of(validation_key(metric)), DIFFERENCE, VERDICT}
    for heading in [INTERVAL, P_VALUE, *reversed([each.heading for each in figures])]:
        if heading not in stay and any(each.heading == heading for each in figures):
            figures = [each for each in figures if each.heading != heading]
            yield figures


def _folders(comparison: Comparison) -> list[str]:
    kinds_and_names = zip(comparison.rows["kind"], comparison.rows["name"], strict=True)
    lines = [
        f"#{number} {name}"
        for number, (kind, name) in enumerate(kinds_and_names, start=1)
        if kind != "baseline"
    ]
    return [f"folders in {shared_folder([Path(each) for each in comparison.runs['folder']])}:", *lines]


def _table(columns: Sequence[TextColumn], gap: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
    for column in columns:
        heading = _folded(column.heading)
        longest = max(map(len, [*heading.split("\n"), *column.cells]))
        is_verdict = column.heading == VERDICT
        wraps = is_verdict or column.heading == WHAT_DIFFERS
        verdicts = [len(cell.partition(",")[0]) + 1 for cell in column.cells if is_verdict]
        least = min(max(verdicts, default=0), LONGEST_VERDICT) if is_verdict else LEAST_TEXT
        table.add_column(
            Align(Text(heading), "left" if column.is_text else "right", vertical="bottom"),
            justify="left" if column.is_text else "right",
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
    """Return a long heading in two lines, broken after a dot, a space or an underscore."""
    if len(heading) <= LONG_HEADING or set(heading) & set("±%"):
        return heading
    for sign, end in ((".", "."), (" ", ""), ("_", "_")):
        before, separator, after = heading.rpartition(sign) if sign == "." else heading.partition(sign)
        if separator:
            return f"{before}{end}\n{after}"
    return heading
