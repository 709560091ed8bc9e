"""The columns of the comparison as texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.figure_names import format_figure, heading, validation_key
from twotower.reports.compare.run_frame import ABSENT, SETTING, UNREADABLE, setting_text
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


def label_column(comparison: Comparison, keys: Sequence[str]) -> TextColumn:
    """Return the settings of each row in one short text."""
    return TextColumn(WHAT_DIFFERS, [row_label(row, keys) for row in comparison.records()], True)


def baseline_columns(comparison: Comparison) -> list[TextColumn]:
    """Return a column with the names of built-in baselines; nothing if the table has none."""
    is_baseline = comparison.rows["kind"] == "baseline"
    names = list(comparison.rows["name"].where(is_baseline, ""))
    return [TextColumn("built in", names, True)] if is_baseline.any() else []


def row_label(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return a row's settings of these keys in short words; its name if it has none of them."""
    if row["kind"] == "baseline":
        return str(row["name"])
    values = {key: row.get(f"{SETTING}{key}") for key in keys}
    known = [
        f"{key}={setting_text(value).replace(', ', ',')}"
        for key, value in values.items()
        if value is not None
    ]
    words = short_words(known)
    seeds = f" ({len(row['folders'])} seeds)" if len(row["folders"]) > 1 else ""
    return " ".join(words) + seeds if words else str(row["name"])


def setting_columns(comparison: Comparison, keys: Sequence[str], short: bool = False) -> list[TextColumn]:
    """Return a column per setting; short ones abbreviate headings and numbers as labels do."""
    headings = short_keys(keys) if short else keys
    columns = []
    for key, title in zip(keys, headings, strict=True):
        values = setting_texts(comparison.rows, key)
        is_text = any(parse_number(cell) is None for cell in values if cell not in ("", ABSENT))
        cells = [rounded(cell) for cell in values] if short else values
        columns.append(TextColumn(title, cells, is_text))
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
    verdicts = [
        verdict_text(verdict, "" if verdict == UNREADABLE else reason)
        for verdict, reason in zip(rows["verdict"], rows["reason"], strict=True)
    ]
    return [
        *first,
        *by_key.values(),
        *_difference_columns(metric, rows),
        TextColumn(VERDICT, verdicts, True),
    ]


def pair_columns(comparison: Comparison, keys: Sequence[str] | None) -> list[TextColumn]:
    """Return all pairs, the left row compared with the right one; without keys rows are numbers alone."""
    pairs = comparison.pairs
    labels = [
        f"{NUMBER}{number}" + ("" if keys is None else f" {row_label(row, keys)}")
        for number, row in enumerate(comparison.records(), start=1)
    ]
    verdicts = map(verdict_text, pairs["verdict"], pairs["reason"])
    return [
        TextColumn("run", [labels[at] for at in pairs["left"]], True),
        TextColumn("against", [labels[at] for at in pairs["right"]], True),
        *_difference_columns(comparison.metric, pairs),
        TextColumn(VERDICT, list(verdicts), True),
    ]


def verdict_text(verdict: str, reason: str) -> str:
    """Return verdict and reason as one text."""
    if not verdict or not reason:
        return verdict or reason
    return f"{verdict}: {reason}" if verdict in (NOT_COMPARABLE, NOT_TESTED) else f"{verdict}, {reason}"


def _difference_columns(metric: str, table: pd.DataFrame) -> list[TextColumn]:
    low, high, difference = (
        [format_figure(metric, value, sign=True) for value in table[column]]
        for column in ("low", "high", "difference")
    )
    columns = [TextColumn(DIFFERENCE, difference)]
    if any(low):
        intervals = [f"[{one}, {other}]" if one else "" for one, other in zip(low, high, strict=True)]
        p_values = [
            "" if value != value else "<.0001" if value < 0.0001 else f"{value:.4f}"
            for value in table["corrected_p_value"]
        ]
        columns += [TextColumn(INTERVAL, intervals), TextColumn(P_VALUE, p_values)]
    return columns
