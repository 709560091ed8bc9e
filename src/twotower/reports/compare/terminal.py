"""The comparison on the console, fitted to its width."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import heading, validation_key
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
LEAST_TEXT, MOST_VERDICT = 24, 76
"""Least and greatest width of texts that wrap."""
LONG_HEADING = 12
STYLES = {BETTER: "green", WORSE: "red", BASELINE: "bold"}


def show(comparison: Comparison) -> None:
    """Print the table and the notes."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    if not has_width:
        console.width = WIDE
    lines = [] if _print_table(console, comparison) else _folders(comparison)
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


def _print_table(console: Console, comparison: Comparison) -> bool:
    """Print the table without the columns that do not fit; return whether it has the names of the runs.

    Left out are the names, then figures, the rightmost first. If that is not enough, the settings share one
    column, which wraps. Files always have everything.
    """
    metric, names, figures = comparison.metric, name_column(comparison), figure_columns(comparison)
    settings = setting_columns(comparison, comparison.main_keys, short=True)
    stay = {heading(metric), heading(validation_key(metric)), DIFFERENCE, VERDICT}
    titles = [INTERVAL, P_VALUE, *reversed([each.heading for each in figures])]
    dropped = [names.heading, *(title for title in titles if title not in stay)]
    words = label_column(comparison) if settings else names
    tables = [[number_column(comparison), words, *figures]]
    if settings:
        named = [number_column(comparison), *baseline_columns(comparison)]
        tables.insert(0, [*named, *settings, *figures, names])
    for columns in tables:
        for title in ("", *dropped):
            columns = [each for each in columns if each is words or each.heading != title]
            table = _table(columns)
            least = Measurement.get(console, console.options.update_width(WIDEST), table).minimum
            if least <= console.width:
                console.print(table)
                return names in columns
    Console(highlight=False, markup=False, width=least).print(table)
    return names in columns


def _folders(comparison: Comparison) -> list[str]:
    kinds_and_names = zip(comparison.rows["kind"], comparison.rows["name"], strict=True)
    lines = [
        f"#{number} {name}"
        for number, (kind, name) in enumerate(kinds_and_names, start=1)
        if kind != "baseline"
    ]
    return [f"folders in {shared_folder([Path(each) for each in comparison.runs['folder']])}:", *lines]


def _table(columns: Sequence[TextColumn]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in columns:
        longest = max(map(len, column.cells))
        folded = column.heading
        if len(folded) > max(longest, LONG_HEADING):
            folded = folded.replace(" ", "\n").replace(".", ".\n")
        longest = max(longest, *map(len, folded.split("\n")))
        wraps = column.heading in (VERDICT, WHAT_DIFFERS)
        table.add_column(
            Align(Text(folded), "left" if column.is_text else "right", vertical="bottom"),
            justify="left" if column.is_text else "right",
            no_wrap=not wraps,
            overflow="fold",
            min_width=min(longest, LEAST_TEXT) if wraps else longest,
            max_width=MOST_VERDICT if column.heading == VERDICT else None,
        )
    at = [column.heading for column in columns].index(VERDICT)
    for cells in zip(*(column.cells for column in columns), strict=True):
        row = list(map(Text, cells))
        row[at].style = next((style for word, style in STYLES.items() if cells[at].startswith(word)), "")
        table.add_row(*row)
    return table
