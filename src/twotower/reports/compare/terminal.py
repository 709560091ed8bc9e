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

from twotower.reports.compare.comparison import BASELINE, Comparison
from twotower.reports.compare.comparison_notes import main_keys, summary
from twotower.reports.compare.figure_names import heading as heading_of
from twotower.reports.compare.figure_names import validation_key
from twotower.reports.compare.run_frame import shared_folder
from twotower.reports.compare.text_columns import (
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
    pair_columns,
    setting_columns,
)
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
    """Print the table, all pairs if there are any, and the notes."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    if not has_width:
        console.width = WIDE
    keys = main_keys(comparison)
    columns = _print(console, _narrower_tables(comparison, keys))
    if len(comparison.pairs):
        _print(console, (pair_columns(comparison, each) for each in (keys, None)))
    lines = _folders(comparison, columns)
    if hidden := [key for key in comparison.keys if key not in keys]:
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


def _print(console: Console, tables: Iterator[list[TextColumn]]) -> list[TextColumn]:
    """Print the first table that fits, or the last one; return its columns.

    Only the last table breaks the texts of settings. No table breaks a verdict, only its reason.
    """
    for columns in tables:
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


def _narrower_tables(comparison: Comparison, keys: Sequence[str]) -> Iterator[list[TextColumn]]:
    """Yield tables from the widest to the narrowest; all of them distinguish the rows.

    First the folders are left out (they are listed below the table), then names of settings are abbreviated,
    then figures are left out, and last the settings share one column. Files always have everything.
    """
    names, number, figures = name_column(comparison), number_column(comparison), figure_columns(comparison)
    if keys:
        named = [number, *baseline_columns(comparison)]
        yield [*named, *setting_columns(comparison, keys), *figures, names]
        yield [*named, *setting_columns(comparison, keys), *figures]
        short = setting_columns(comparison, keys, short=True)
        yield from ([*named, *short, *fewer] for fewer in _fewer_figures(comparison, figures))
    labels = label_column(comparison, keys) if keys else names
    yield from ([number, labels, *fewer] for fewer in _fewer_figures(comparison, figures))


def _fewer_figures(comparison: Comparison, figures: list[TextColumn]) -> Iterator[list[TextColumn]]:
    """Yield all figures, then fewer and fewer, down to the metric on both splits."""
    yield figures
    metric = comparison.metric
    stay = {heading_of(metric), heading_of(validation_key(metric)), "difference", VERDICT}
    for heading in [INTERVAL, P_VALUE, *reversed([each.heading for each in figures])]:
        if heading not in stay and any(each.heading == heading for each in figures):
            figures = [each for each in figures if each.heading != heading]
            yield figures


def _folders(comparison: Comparison, columns: Sequence[TextColumn]) -> list[str]:
    """Return the folders of the rows, unless the table shows them."""
    names = name_column(comparison)
    if any(each.heading == names.heading for each in columns):
        return []
    rows = enumerate(comparison.records(), start=1)
    lines = [f"#{number} {row['name']}" for number, row in rows if row["kind"] != "baseline"]
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
