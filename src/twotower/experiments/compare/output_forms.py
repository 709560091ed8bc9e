"""The comparison as columns of text: on the console, as CSV, JSON and Markdown."""

import json
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd
from rich.align import Align
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from twotower.experiments.compare.comparison import Comparison
from twotower.experiments.compare.figure_names import format_figure, heading, validation_key
from twotower.experiments.compare.notes import each_once
from twotower.experiments.compare.run_frame import (
    ABSENT,
    SETTING,
    UNREADABLE,
    figures_in,
    records,
    setting_text,
    shared_folder,
)
from twotower.experiments.compare.verdicts import (
    BASELINE,
    BETTER,
    EQUIVALENT,
    NOT_COMPARABLE,
    NOT_TESTED,
    WORSE,
    seed_reach,
)
from twotower.experiments.console.console_tables import table_text
from twotower.experiments.runs.folder_name import rounded, short_keys, short_words

WIDE, WIDEST = 400, 10**6
"""Width without a terminal: a table in a file or a pipe is not cut."""
MIN_TEXT, MAX_VERDICT = 24, 76
"""Least and greatest width of texts that wrap."""
LONG_HEADING = 12
LEFT_OUT_FIRST = ("name", "interval", "p_value", "detectable", "users_needed")
STYLES = {BETTER: "green", WORSE: "red", EQUIVALENT: "cyan", BASELINE: "bold"}


@dataclass(frozen=True)
class TextColumn:
    """A heading and a text per row; `is_text` is False for numbers, which are aligned to the right.

    `short` has heading and cells of a setting as labels abbreviate them.
    """

    heading: str
    cells: list[str]
    is_text: bool = False
    short: tuple[str, list[str]] | None = None


def text_columns(comparison: Comparison, keys: Sequence[str] | None = None) -> dict[str, TextColumn]:
    """Return the table as texts, in its order, with these settings (None: the main ones).

    Keys: number, built_in, settings and figures as in `comparison.rows`, spread, difference, interval,
    p_value, detectable, users_needed, verdict, name.
    """
    rows, metric = comparison.rows, comparison.metric

    def texts(column: str, sign: bool = False) -> list[str]:
        return [format_figure(metric, value, sign) for value in rows[column]]

    columns = {"number": TextColumn("#", [str(number) for number in range(1, len(rows) + 1)])}
    is_built_in = rows["kind"] == "baseline"
    if is_built_in.any():
        columns["built_in"] = TextColumn("built in", list(rows["name"].where(is_built_in, "")), True)
    for key, short_key in short_keys(comparison.main_keys if keys is None else keys).items():
        # A built-in baseline has no settings.
        cells = list(rows[f"{SETTING}{key}"].map(setting_text).where(~is_built_in, ""))
        is_text = any(parse_number(cell) is None for cell in cells if cell not in ("", ABSENT))
        columns[f"{SETTING}{key}"] = TextColumn(key, cells, is_text, (short_key, list(map(rounded, cells))))
    figures = {
        key: TextColumn(heading(key), [format_figure(key, value) for value in rows[key]])
        for key in (*comparison.columns, metric)
        if key in rows
    }
    columns |= {key: figures[key] for key in (validation_key(metric), metric) if key in figures}
    if rows["seed_mean"].notna().any():
        spread = zip(texts("seed_mean"), texts("seed_sd"), rows["num_seeds"], strict=True)
        shown = [f"{mean} ± {sd} ({count})" if count else "" for mean, sd, count in spread]
        columns["spread"] = TextColumn("mean ± sd (seeds)", shown)
    columns |= {key: column for key, column in figures.items() if key not in columns}
    columns["difference"] = TextColumn("difference", texts("difference", sign=True))
    if rows["low"].notna().any():
        ends = zip(texts("low", sign=True), texts("high", sign=True), strict=True)
        intervals = [f"[{low}, {high}]" if low else "" for low, high in ends]
        is_equivalent = rows["verdict"] == EQUIVALENT
        p_values = rows["corrected_p_value"].mask(is_equivalent, rows["equivalence_p_value"])
        p_texts = ["" if p != p else "<.0001" if p < 0.0001 else f"{p:.4f}" for p in p_values]
        columns["interval"] = TextColumn("interval", intervals)
        columns["p_value"] = TextColumn("p", p_texts)
    if rows["detectable_difference"].notna().any():
        needed = ["" if each is None else f"{float(f'{each:.2g}'):,.0f}" for each in rows["users_needed"]]
        columns["detectable"] = TextColumn("detectable", texts("detectable_difference"))
        columns["users_needed"] = TextColumn("users needed", needed)
    verdicts = [
        (": " if pair[0] in (NOT_COMPARABLE, NOT_TESTED) else ", ").join(filter(None, pair))
        for pair in verdict_pairs(rows)
    ]
    columns["verdict"] = TextColumn("verdict", verdicts, True)
    by_configuration = (rows["kind"] == "configuration").any()
    columns["name"] = TextColumn("configuration" if by_configuration else "run", list(rows["name"]), True)
    return columns


def labels(comparison: Comparison) -> list[str]:
    """Return the main settings of each row in short words; its name if it has none of them."""
    texts = []
    for row in records(comparison.rows):
        values = {key: row[f"{SETTING}{key}"] for key in comparison.main_keys}
        known = {key: setting_text(value) for key, value in values.items() if value is not None}
        words = short_words([f"{key}={text.replace(', ', ',')}" for key, text in known.items()])
        seeds = f" ({len(row['folders'])} seeds)" if len(row["folders"]) > 1 else ""
        texts.append(" ".join(words) + seeds if words else row["name"])
    return texts


def parse_number(text: str) -> float | None:
    """Return the finite number that a text is, or None."""
    try:
        return number if isfinite(number := float(text)) else None
    except ValueError:
        return None


def verdict_pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return verdict and reason of each row; the reason of an unreadable run is in the notes."""
    reasons = rows["reason"].where(rows["verdict"] != UNREADABLE, "")
    return list(zip(rows["verdict"], reasons, strict=True))


def summary(comparison: Comparison, with_user_notes: bool = True) -> Iterator[str]:
    """Yield the lines to read with the table: baseline, tests, seeds and notes."""
    rows, metric = comparison.rows, comparison.metric
    if comparison.baseline is not None:
        yield f"baseline: {rows['name'][comparison.baseline]} ({comparison.baseline_reason})"
    key = validation_key(metric)
    if key in rows and rows[key].notna().any():
        yield f"rows: sorted by {heading(key)}"
    if comparison.num_tests:
        yield (
            f"tests: {comparison.num_tests} over {comparison.num_users:,} users; p-values are corrected for "
            "the number of tests (Holm); an interval has the level of its row's test, 95 % or more, and "
            "excludes 0 if and only if p is at most .05"
        )
    if len(sizes := rows["detectable_difference"].dropna()):
        shown = " to ".join(dict.fromkeys(format_figure(metric, each) for each in (sizes.min(), sizes.max())))
        yield f"power: 80 % for true differences of {shown} (detectable); users needed: for the observed"
    if comparison.num_tests and comparison.min_effect is not None:
        inside = f"±{comparison.min_effect:g} (min_effect)"
        yield f"{EQUIVALENT}: two one-sided tests, whose p is shown, find the difference inside {inside}"
    if comparison.noise is not None:
        sd, num_seeds = comparison.noise
        reach = format_figure(metric, seed_reach(sd))
        yield (
            f"seeds: sd {format_figure(metric, sd)} over {num_seeds} seeds; two single runs may differ by "
            f"{reach} because of the seed alone"
        )
    yield from (f"effect on {heading(key)}: {line}" for line in comparison.effects)
    yield from (f"note: {note}" for note in comparison.notes)
    if note := shared_note(rows):
        yield f"note: on all these runs: {note}"
    elif with_user_notes:
        noted = rows[rows["note"] != ""]
        notes = each_once(zip(noted["note"], noted["name"], strict=True))
        yield from (f"note: {note}" for note in notes)


def shared_note(rows: pd.DataFrame) -> str:
    """Return the note that all these runs share, as the runs of a sweep do."""
    notes = set(rows["note"][rows["kind"] != "baseline"])
    return notes.pop() if len(notes) == 1 else ""


def show(comparison: Comparison) -> None:
    """Print the table and the notes."""
    console = Console(highlight=False, markup=False)
    has_width = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    if not has_width:
        console.width = WIDE
    lines = []
    if not _print_table(console, comparison):
        shared = shared_folder(comparison.runs["folder"])
        shared = shared.relative_to(Path.cwd()) if shared.is_relative_to(Path.cwd()) else shared
        numbered = enumerate(records(comparison.rows), start=1)
        lines = [f"#{number} {row['name']}" for number, row in numbered if row["kind"] != "baseline"]
        lines.insert(0, f"folders in {shared}:")
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
    """Print the widest of three tables that fits; return whether it has the names of the runs.

    They have all columns; those without names, tests and power; and only settings in words, the metric on
    both splits, difference and verdict.
    """
    columns = text_columns(comparison)
    shorter = {key: column for key, column in columns.items() if key not in LEFT_OUT_FIRST}
    has_settings = bool(comparison.main_keys)
    texts = labels(comparison) if has_settings else columns["name"].cells
    words = {"label": TextColumn("what differs" if has_settings else "run", texts, True)}
    least_keys = ("number", validation_key(comparison.metric), comparison.metric, "difference", "verdict")
    least = {key: columns[key] for key in least_keys if key in columns}
    tables = [_table(each) for each in (columns, shorter, {"number": least.pop("number"), **words, **least})]
    for table in tables:
        width = Measurement.get(console, console.options.update_width(WIDEST), table).minimum
        if width <= console.width:
            break
    console.width = max(console.width, width)
    console.print(table_text(console, table))
    return table is tables[0] or (table is tables[2] and not has_settings)


def _table(columns: Mapping[str, TextColumn]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    texts = []
    for key, column in columns.items():
        folded, cells = column.short or (column.heading, column.cells)
        texts.append(cells)
        longest = max(map(len, cells))
        if len(folded) > max(longest, LONG_HEADING):
            folded = folded.replace(" ", "\n").replace(".", ".\n")
        longest = max(longest, *map(len, folded.split("\n")))
        wraps = key in ("verdict", "label")
        table.add_column(
            Align(Text(folded), "left" if column.is_text else "right", vertical="bottom"),
            justify="left" if column.is_text else "right",
            no_wrap=not wraps,
            overflow="fold",
            min_width=min(longest, MIN_TEXT) if wraps else longest,
            max_width=MAX_VERDICT if key == "verdict" else None,
        )
    at = list(columns).index("verdict")
    for line in zip(*texts, strict=True):
        row = list(map(Text, line))
        row[at].style = next((style for word, style in STYLES.items() if line[at].startswith(word)), "")
        table.add_row(*row)
    return table


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    table = comparison.table(comparison.columns)
    table["seeds"] = [" ".join(map(str, seeds)) for seeds in table["seeds"]]
    return table.map(_csv_cell).to_csv(index=False, lineterminator="\n")


def _csv_cell(value: Any) -> Any:
    """Return a value, with `'` before a text that a spreadsheet would run; numbers stay numbers."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula and parse_number(value) is None else value


def as_json(comparison: Comparison) -> str:
    """Return everything as JSON: rows with all their figures, tests and notes."""
    rows, baseline, noise = comparison.rows, comparison.baseline, comparison.noise
    table = comparison.table(comparison.columns)
    lines, figures = records(table.astype(object).where(table.notna(), None)), figures_in(rows)
    for line, row in zip(lines, records(rows), strict=True):
        line["figures"] = {key: row[key] for key in figures if row[key] == row[key]}
        line["folders"] = row["folders"]
    content = {
        "metric": comparison.metric,
        "higher_is_better": comparison.higher,
        "baseline": None if baseline is None else rows["name"][baseline],
        "baseline_chosen": comparison.baseline_reason,
        "num_tests": comparison.num_tests,
        "num_users": comparison.num_users,
        "min_effect": comparison.min_effect,
        "seed_sd": None if noise is None else noise[0],
        "settings": [f"{SETTING}{key}" for key in comparison.keys],
        "columns": comparison.columns,
        "effects": comparison.effects,
        "rows": lines,
        "notes": comparison.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the table and the notes as Markdown."""
    columns = text_columns(comparison).values()
    texts = [[each.heading, "---" if each.is_text else "---:", *each.cells] for each in columns]
    table = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in zip(*texts, strict=True))
    return table + "\n\n" + "\n".join(f"- {line}" for line in summary(comparison)) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
