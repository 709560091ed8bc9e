"""The comparison as files: CSV, JSON and Markdown."""

import csv
import io
import json
from typing import Any

from twotower.reports.compare.differences import telling_keys
from twotower.reports.compare.report import Report
from twotower.reports.compare.table import (
    Texts,
    pair_texts,
    plain_comparison,
    plain_rows,
    summary,
    texts,
)


def as_csv(report: Report) -> str:
    """Return the rows as CSV with every setting that differs, numbers in full."""
    rows = plain_rows(report)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(row | {"seeds": " ".join(map(str, row["seeds"]))})
    return file.getvalue()


def as_json(report: Report) -> str:
    """Return everything as JSON: the rows with all their figures, pairs, how it was tested, notes."""
    rows = [
        plain | {"figures": dict(row.entry.figures), "folders": [str(run.folder) for run in row.entry.runs]}
        for plain, row in zip(plain_rows(report), report.rows, strict=True)
    ]
    pairs: list[dict[str, Any]] = [
        {"left": pair.left.name, "right": pair.right.name, **plain_comparison(pair)}
        | {"verdict": pair.verdict, "reason": pair.reason}
        for pair in report.pairs
    ]
    content = {
        "metric": report.metric,
        "higher_is_better": report.higher_is_better(report.metric),
        "baseline": report.baseline.name if report.baseline else None,
        "baseline_chosen": report.chosen,
        "num_tests": report.judgement.num_tests,
        "num_users": report.judgement.num_users,
        "seed_sd": report.luck.sd if report.luck else None,
        "settings": report.keys,
        "columns": report.columns,
        "rows": rows,
        "pairs": pairs,
        "notes": report.notes,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def as_markdown(report: Report) -> str:
    """Return the table, the pairs and the notes as Markdown."""
    parts = [_markdown(texts(report, telling_keys(report.keys, report.records)))]
    if report.pairs:
        parts.append(_markdown(pair_texts(report)))
    parts.append("\n".join(f"- {line}" for line in summary(report)))
    return "\n\n".join(parts) + "\n"


def _markdown(content: Texts) -> str:
    headings, rows, num_words = content
    rules = ["---" if at < num_words or at == len(headings) - 1 else "---:" for at in range(len(headings))]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in [headings, rules, *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
