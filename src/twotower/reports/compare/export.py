"""The comparison as files: CSV, JSON and Markdown."""

import csv
import io
import json
from typing import Any

from twotower.reports.compare.columns import (
    Column,
    built_in_of,
    figures_of,
    names_of,
    numbers_of,
    pair_columns,
    settings_of,
)
from twotower.reports.compare.comparison import Comparison, Row, summary, telling_keys
from twotower.reports.compare.judge import Difference


def as_csv(comparison: Comparison) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    rows = [_plain_row(comparison, row) for row in comparison.rows]
    rows = [row | {"seeds": " ".join(map(str, row["seeds"]))} for row in rows]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([map(_csv_cell, line) for line in (rows[0], *(row.values() for row in rows))])
    return file.getvalue()


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
    table = [*built_in_of(comparison), *settings_of(comparison, keys), *figures_of(comparison)]
    parts = [_markdown([numbers_of(comparison), *table, names_of(comparison)])]
    if comparison.pairs:
        parts.append(_markdown(pair_columns(comparison, keys)))
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
        "note": entry.run.note if entry.trained else "",
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
