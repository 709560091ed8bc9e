"""The comparison as CSV, JSON and Markdown."""

import json
from typing import Any

import pandas as pd

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.comparison_notes import main_keys, summary
from twotower.reports.compare.run_frame import SETTING, figures_in
from twotower.reports.compare.text_columns import (
    TextColumn,
    baseline_columns,
    figure_columns,
    name_column,
    number_column,
    pair_columns,
    setting_columns,
)


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    table = comparison.table(comparison.columns)
    table = table.assign(seeds=[" ".join(map(str, seeds)) for seeds in table["seeds"]])
    return table.map(_csv_cell).to_csv(index=False, lineterminator="\n")


def _csv_cell(value: Any) -> Any:
    """Return a value, with `'` before a text that a spreadsheet would run; numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def as_json(comparison: Comparison) -> str:
    """Return everything as JSON: rows with all their figures, pairs, tests and notes."""
    known = figures_in(comparison.rows)
    rows = comparison.table(comparison.columns).to_dict("records")
    for row, whole in zip(rows, comparison.records(), strict=True):
        row["figures"] = {key: whole[key] for key in known if not pd.isna(whole[key])}
        row["folders"] = whole["folders"]
    pairs = comparison.pairs
    names = comparison.rows["name"]
    pairs = pairs.assign(left=pairs["left"].map(names), right=pairs["right"].map(names))
    content = {
        "metric": comparison.metric,
        "higher_is_better": comparison.higher_is_better(comparison.metric),
        "baseline": None if comparison.baseline is None else names[comparison.baseline],
        "baseline_chosen": comparison.baseline_reason,
        "num_tests": comparison.num_tests,
        "num_users": comparison.num_users,
        "seed_sd": None if comparison.noise is None else comparison.noise[0],
        "settings": [f"{SETTING}{key}" for key in comparison.keys],
        "columns": comparison.columns,
        "rows": rows,
        "pairs": pairs.to_dict("records"),
        "notes": comparison.notes,
    }
    return json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def as_markdown(comparison: Comparison) -> str:
    """Return the table, the pairs and the notes as Markdown."""
    keys = main_keys(comparison)
    table = [*baseline_columns(comparison), *setting_columns(comparison, keys), *figure_columns(comparison)]
    parts = [_markdown([number_column(comparison), *table, name_column(comparison)])]
    if len(comparison.pairs):
        parts.append(_markdown(pair_columns(comparison, keys)))
    parts.append("\n".join(f"- {line}" for line in summary(comparison)))
    return "\n\n".join(parts) + "\n"


def _markdown(columns: list[TextColumn]) -> str:
    texts = [[each.heading, "---" if each.is_text else "---:", *each.cells] for each in columns]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in zip(*texts, strict=True))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
