"""The comparison on the console, and as files: CSV, JSON and Markdown."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.reports.compare.columns import (
    INTERVAL,
    NUMBER,
    P_VALUE,
    Column,
    columns_of,
    labels_of,
    names_of,
    numbers_of,
    pair_columns,
)
from twotower.reports.compare.comparison import Comparison, Row, summary, telling_keys
from twotower.reports.compare.entries import label
from twotower.reports.compare.judge import BETTER, WORSE, Difference

WIDE = 400
"""Columns where no terminal sets a limit: a table in a file or a pipe is not cut."""
LEAST_NAME, LEAST_VERDICT, MOST_VERDICT = 20, 20, 76
LONG_HEADING = 12
STYLES = {BETTER: "green", WORSE: "red", "the baseline": "bold"}


def show(comparison: Comparison) -> None:
    """Print the table, all pairs if they were asked for, and what to know of them."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    keys = telling_keys(comparison.keys, comparison.records)
    for columns in _ever_narrower(comparison, keys):
        table = _table(columns)
        if _least(console, table) <= console.width:
            break
    pairs = [_table(pair_columns(comparison))] if comparison.pairs else []
    for each in [table, *pairs]:
        console.print(each, width=max(console.width, _least(console, each)))
    for line in [*_folders(comparison, columns, keys), *_hidden(comparison, keys), *summary(comparison)]:
        console.print(line, soft_wrap=True)


def _least(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update_width(10**6), table).minimum


def _ever_narrower(comparison: Comparison, keys: Sequence[str]) -> Iterator[list[Column]]:
    """Return what to show, and then with ever less; what tells rows apart stays, and all files have all.

    First folders make room, which are listed below then, then a column a setting for words in one column,
    then figures.
    """
    settings_and_figures = columns_of(comparison, keys)
    yield [names_of(comparison), *settings_and_figures]
    number = numbers_of(comparison)
    if keys:
        yield [number, *settings_and_figures]
    rest = columns_of(comparison, [])
    yield [number, labels_of(comparison, keys), *rest]
    first = [label(comparison.metric), "difference", "verdict"]
    for heading in [INTERVAL, P_VALUE, *reversed([each.heading for each in rest])]:
        if heading not in first:
            rest = [column for column in rest if column.heading != heading]
            yield [number, labels_of(comparison, keys), *rest]


def _folders(comparison: Comparison, columns: Sequence[Column], keys: Sequence[str]) -> list[str]:
    """Return where the rows lie, where the table only has their numbers, and their settings do not say it."""
    names, labels = names_of(comparison).cells, labels_of(comparison, keys).cells
    if columns[0].heading != NUMBER or names == [label.replace(" ", ",") for label in labels]:
        return []
    return [f"#{number} {name}" for number, name in enumerate(names, start=1)]


def _hidden(comparison: Comparison, shown: Sequence[str]) -> list[str]:
    hidden = [key for key in comparison.keys if key not in shown]
    if not hidden:
        return []
    named = ", ".join(hidden[:4]) + (", ..." if len(hidden) > 4 else "")
    return [f"settings that differ but are not shown: {len(hidden)} ({named}); csv, json and html have all"]


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    last = columns[-1]
    first = columns[1] if columns[0].heading == NUMBER and columns[1].words else columns[0]
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


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    rows = [_plain_row(comparison, row) for row in comparison.rows]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"seeds": " ".join(map(str, row["seeds"]))})
    return file.getvalue()


def as_json(comparison: Comparison) -> str:
    """Return everything as JSON: the rows with all their figures, pairs, how it was tested, notes."""
    rows = [
        _plain_row(comparison, row)
        | {"figures": dict(row.entry.figures), "folders": [str(run.folder) for run in row.entry.runs]}
        for row in comparison.rows
    ]
    pairs = [
        {"left": pair.left.name, "right": pair.right.name, **_plain_difference(pair)}
        | {"verdict": pair.verdict, "reason": pair.reason}
        for pair in comparison.pairs
    ]
    content = {
        "metric": comparison.metric,
        "higher_is_better": comparison.higher_is_better(comparison.metric),
        "baseline": comparison.baseline.name if comparison.baseline else None,
        "baseline_chosen": comparison.chosen,
        "num_tests": comparison.judgement.num_tests,
        "num_users": comparison.judgement.num_users,
        "seed_sd": comparison.luck.sd if comparison.luck else None,
        "settings": comparison.keys,
        "columns": comparison.columns,
        "rows": rows,
        "pairs": pairs,
        "notes": comparison.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the table, the pairs and the notes as Markdown."""
    keys = telling_keys(comparison.keys, comparison.records)
    parts = [_markdown([names_of(comparison), *columns_of(comparison, keys)])]
    if comparison.pairs:
        parts.append(_markdown(pair_columns(comparison)))
    parts.append("\n".join(f"- {line}" for line in summary(comparison)))
    return "\n\n".join(parts) + "\n"


def _markdown(columns: list[Column]) -> str:
    texts = [[each.heading, "---" if each.words else "---:", *each.cells] for each in columns]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in zip(*texts, strict=True))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _plain_row(comparison: Comparison, row: Row) -> dict[str, Any]:
    entry, spread = row.entry, row.spread
    return {
        "name": entry.name,
        "kind": entry.kind,
        "folder": str(entry.run.folder),
        "state": entry.run.state if entry.trained else "ok",
        "seeds": entry.seeds,
        **{key: entry.run.settings.get(key) if entry.trained else None for key in comparison.keys},
        comparison.metric: row.value,
        **{key: entry.figures.get(key) for key in comparison.columns},
        "seed_mean": spread.mean if spread else None,
        "seed_sd": spread.sd if spread else None,
        "num_seeds": spread.num_seeds if spread else None,
        **_plain_difference(row.difference),
        "verdict": row.verdict,
        "reason": row.reason,
    }


def _plain_difference(difference: Difference | None) -> dict[str, Any]:
    tested = difference.tested if difference else None
    return {
        "difference": difference.delta if difference else None,
        "low": tested.low if tested else None,
        "high": tested.high if tested else None,
        "p_value": tested.p_value if tested else None,
        "corrected_p_value": tested.corrected if tested else None,
    }
