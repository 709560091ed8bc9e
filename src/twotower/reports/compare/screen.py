"""The comparison on the console."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.comparison import BETTER, WORSE
from twotower.reports.compare.differences import telling_keys
from twotower.reports.compare.report import Report
from twotower.reports.compare.table import Texts, pair_texts, summary, texts

WIDE = 400
"""Columns where no terminal sets a limit: a table in a file or a pipe is not cut."""
GAP = 2
LEAST_NAME, SHORTEST_NAME = 32, 12
LEAST_VERDICT, MOST_VERDICT = 20, 76
LONG_HEADING = 12
STYLES = {BETTER: "green", WORSE: "red", "the baseline": "bold"}


def show(report: Report) -> None:
    """Print the table, all pairs if they were asked for, and what to know of them."""
    console = Console(highlight=False, markup=False)
    width = console.width if console.is_terminal else WIDE
    for narrower, shown in _ever_narrower(report):
        content = texts(narrower, shown)
        widths = _widths(content, width, LEAST_NAME)
        if sum(widths) + GAP * (len(widths) - 1) <= width:
            break
    else:
        widths = _widths(content, width, SHORTEST_NAME)
    _print(content, widths, width)
    if report.pairs:
        print()
        content = pair_texts(report)
        _print(content, _widths(content, width, LEAST_NAME), width)
    for line in [*_hidden(report, shown), *summary(report)]:
        console.print(line, soft_wrap=True)


def _ever_narrower(report: Report) -> Iterator[tuple[Report, list[str]]]:
    """Return what to show, and then with ever less: settings make room for figures; all files have all."""
    keys = telling_keys(report.keys, report.records)
    for number in range(len(keys), -1, -1):
        yield report, keys[:number]
    for number in range(len(report.columns) - 1, -1, -1):
        yield replace(report, columns=report.columns[:number]), []
    yield replace(report, columns=[], rows=[replace(row, spread=None) for row in report.rows]), []


def _hidden(report: Report, shown: Sequence[str]) -> list[str]:
    hidden = [key for key in report.keys if key not in shown]
    if not hidden:
        return []
    named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
    return [
        f"settings that differ but are not shown: {len(hidden)} ({named}); --csv, --json and --html have all"
    ]


def _widths(content: Texts, width: int, least_name: int) -> list[int]:
    """Return the widths of the columns: what they need, but for names and verdicts where room is short."""
    headings, rows, _ = content
    cells = [
        [*_folded(heading).split("\n"), *column] for heading, *column in zip(headings, *rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in cells]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    widths[-1] = min(widths[-1], MOST_VERDICT)
    for at, least in ((-1, LEAST_VERDICT), (0, least_name)):
        spare = min(max(0, widths[at] - least), max(0, excess))
        widths[at] -= spare
        excess -= spare
    return widths


def _folded(heading: str) -> str:
    """Return a long heading on two lines."""
    if len(heading) <= LONG_HEADING or set(heading) & set("±%"):
        return heading
    before, dot, after = heading.rpartition(".")
    return f"{before}.\n{after}" if dot else heading.replace(" ", "\n", 1)


def _shortened(names: Sequence[str], width: int) -> Sequence[str]:
    """Return the ends of names that are too long, where these still tell them apart."""
    ends = [name if len(name) <= width else f"…{name[1 - width :]}" for name in names]
    return ends if len(set(ends)) == len(set(names)) else names


def _print(content: Texts, widths: Sequence[int], width: int) -> None:
    headings, rows, num_words = content
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    folded = [_folded(heading) for heading in headings]
    two_lines = any("\n" in heading for heading in folded)
    for position, heading in enumerate(folded):
        last = position == len(headings) - 1
        table.add_column(
            Text(heading if "\n" in heading or not two_lines else f"\n{heading}"),
            justify="left" if position < num_words or last else "right",
            no_wrap=position > 0 and not last,
            overflow="ellipsis" if position > 0 and not last else "fold",
            width=widths[position],
        )
    for name, row in zip(_shortened([row[0] for row in rows], widths[0]), rows, strict=True):
        style = next((style for word, style in STYLES.items() if row[-1].startswith(word)), "")
        table.add_row(*map(Text, [name, *row[1:-1]]), Text(row[-1], style=style))
    needed = sum(widths) + GAP * len(widths)
    Console(highlight=False, markup=False, width=max(width, needed)).print(table)
