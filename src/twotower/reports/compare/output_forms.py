"""The comparison as columns of text, and as CSV, JSON and Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import format_figure, heading, validation_key
from twotower.reports.compare.notes import summary
from twotower.reports.compare.run_frame import (
    ABSENT,
    SETTING,
    UNREADABLE,
    figures_in,
    records,
    setting_text,
)
from twotower.reports.compare.verdicts import NOT_COMPARABLE, NOT_TESTED
from twotower.runs.folder_name import rounded, short_keys, short_words

NUMBER, DIFFERENCE, INTERVAL, P_VALUE = "#", "difference", "95 % interval", "p"
VERDICT, WHAT_DIFFERS, SPREAD = "verdict", "what differs", "mean ± sd (seeds)"


@dataclass(frozen=True)
class TextColumn:
    """A heading and a text per row; `is_text` is False for numbers, which are aligned to the right."""

    heading: str
    cells: list[str]
    is_text: bool = False


def name_column(comparison: Comparison) -> TextColumn:
    """Return the names of the rows."""
    by_configuration = (comparison.rows["kind"] == "configuration").any()
    return TextColumn("configuration" if by_configuration else "run", list(comparison.rows["name"]), True)


def number_column(comparison: Comparison) -> TextColumn:
    """Return the number of each row, from 1."""
    return TextColumn(NUMBER, [str(number) for number in range(1, len(comparison.rows) + 1)])


def label_column(comparison: Comparison) -> TextColumn:
    """Return the main settings of each row in short words; its name if it has none of them."""
    return TextColumn(WHAT_DIFFERS, [_label(row, comparison) for row in records(comparison.rows)], True)


def _label(row: Mapping[str, Any], comparison: Comparison) -> str:
    values = {key: row.get(f"{SETTING}{key}") for key in comparison.main_keys}
    known = [
        f"{key}={setting_text(value).replace(', ', ',')}"
        for key, value in values.items()
        if value is not None
    ]
    words = short_words(known)
    if row["kind"] == "baseline" or not words:
        return str(row["name"])
    return " ".join(words) + (f" ({len(row['folders'])} seeds)" if len(row["folders"]) > 1 else "")


def baseline_columns(comparison: Comparison) -> list[TextColumn]:
    """Return a column with the names of built-in baselines; nothing if the table has none."""
    is_baseline = comparison.rows["kind"] == "baseline"
    names = list(comparison.rows["name"].where(is_baseline, ""))
    return [TextColumn("built in", names, True)] if is_baseline.any() else []


def setting_columns(comparison: Comparison, keys: Sequence[str], short: bool = False) -> list[TextColumn]:
    """Return a column per setting; short ones abbreviate headings and numbers as labels do."""
    headings = short_keys(keys) if short else keys
    columns = []
    for key, title in zip(keys, headings, strict=True):
        values = setting_texts(comparison.rows, key)
        is_text = any(parse_number(cell) is None for cell in values if cell not in ("", ABSENT))
        columns.append(TextColumn(title, [rounded(cell) for cell in values] if short else values, is_text))
    return columns


def setting_texts(rows: pd.DataFrame, key: str) -> list[str]:
    """Return a setting of each row as text; empty for a built-in baseline."""
    pairs = zip(rows["kind"], rows[f"{SETTING}{key}"], strict=True)
    return ["" if kind == "baseline" else setting_text(value) for kind, value in pairs]


def parse_number(text: str) -> float | None:
    """Return the finite number that a text is, or None."""
    try:
        return number if isfinite(number := float(text)) else None
    except ValueError:
        return None


def figure_columns(comparison: Comparison) -> list[TextColumn]:
    """Return the figures, the validation metric first, then the difference and the verdict."""
    rows, metric = comparison.rows, comparison.metric
    by_key = {
        key: TextColumn(heading(key), [format_figure(key, value) for value in rows[key]])
        for key in (*comparison.columns, metric)
        if key in rows
    }
    first = [by_key.pop(key) for key in (validation_key(metric), metric) if key in by_key]
    if rows["seed_mean"].notna().any():
        values = zip(rows["seed_mean"], rows["seed_sd"], rows["num_seeds"], strict=True)
        cells = [
            f"{format_figure(metric, mean)} ± {format_figure(metric, sd)} ({count})" if mean == mean else ""
            for mean, sd, count in values
        ]
        first.append(TextColumn(SPREAD, cells))
    low, high, difference = (
        [format_figure(metric, value, sign=True) for value in rows[column]]
        for column in ("low", "high", "difference")
    )
    tests = [TextColumn(DIFFERENCE, difference)]
    if any(low):
        intervals = [f"[{one}, {other}]" if one else "" for one, other in zip(low, high, strict=True)]
        p_values = [
            "" if value != value else "<.0001" if value < 0.0001 else f"{value:.4f}"
            for value in rows["corrected_p_value"]
        ]
        tests += [TextColumn(INTERVAL, intervals), TextColumn(P_VALUE, p_values)]
    verdicts = [verdict_text(*each) for each in verdict_pairs(rows)]
    return [*first, *by_key.values(), *tests, TextColumn(VERDICT, verdicts, True)]


def verdict_pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return verdict and reason of each row; the reason of an unreadable run is in the notes."""
    pairs = zip(rows["verdict"], rows["reason"], strict=True)
    return [(verdict, "" if verdict == UNREADABLE else reason) for verdict, reason in pairs]


def verdict_text(verdict: str, reason: str) -> str:
    """Return verdict and reason as one text."""
    separator = ": " if verdict in (NOT_COMPARABLE, NOT_TESTED) else ", "
    return separator.join(filter(None, (verdict, reason)))


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    table = comparison.table(comparison.columns)
    table = table.assign(seeds=[" ".join(map(str, seeds)) for seeds in table["seeds"]])
    return table.map(_csv_cell).to_csv(index=False, lineterminator="\n")


def _csv_cell(value: Any) -> Any:
    """Return a value, with `'` before a text that a spreadsheet would run; numbers stay numbers."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula and parse_number(value) is None else value


def as_json(comparison: Comparison) -> str:
    """Return everything as JSON: rows with all their figures, tests and notes."""
    known = figures_in(comparison.rows)
    rows = comparison.table(comparison.columns).to_dict("records")
    for row, whole in zip(rows, records(comparison.rows), strict=True):
        row["figures"] = {key: whole[key] for key in known if not pd.isna(whole[key])}
        row["folders"] = whole["folders"]
    content = {
        "metric": comparison.metric,
        "higher_is_better": comparison.higher,
        "baseline": None if comparison.baseline is None else comparison.rows["name"][comparison.baseline],
        "baseline_chosen": comparison.baseline_reason,
        "num_tests": comparison.num_tests,
        "num_users": comparison.num_users,
        "seed_sd": None if comparison.noise is None else comparison.noise[0],
        "settings": [f"{SETTING}{key}" for key in comparison.keys],
        "columns": comparison.columns,
        "rows": [
            {
                key: None if isinstance(value, float) and value != value else value
                for key, value in row.items()
            }
            for row in rows
        ],
        "notes": comparison.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the table and the notes as Markdown."""
    settings = setting_columns(comparison, comparison.main_keys)
    columns = [*baseline_columns(comparison), *settings, *figure_columns(comparison)]
    columns = [number_column(comparison), *columns, name_column(comparison)]
    texts = [[each.heading, "---" if each.is_text else "---:", *each.cells] for each in columns]
    table = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in zip(*texts, strict=True))
    return table + "\n\n" + "\n".join(f"- {line}" for line in summary(comparison)) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
