"""The report's rows as texts for people and as plain values for programs."""

from collections.abc import Sequence
from typing import Any

from twotower.reports.compare.comparison import NOT_COMPARABLE, NOT_TESTED, Comparison
from twotower.reports.compare.differences import shown_value
from twotower.reports.compare.metric import label, written
from twotower.reports.compare.record import DAMAGED
from twotower.reports.compare.report import Report, Row

Texts = tuple[list[str], list[list[str]], int]
"""Headings, rows, and how many leading columns are words; the rest are numbers but for the last."""


def texts(report: Report, keys: Sequence[str]) -> Texts:
    """Return the table as texts: names, settings, figures, the difference and the verdict.

    Args:
        report: to show.
        keys: of the settings to show.
    """
    with_seeds = any(row.spread for row in report.rows)
    with_tests = any(row.comparison and row.comparison.tested for row in report.rows)
    headings = [_what(report), *keys, label(report.metric)]
    headings += ["mean ± sd (seeds)"] if with_seeds else []
    headings += [*map(label, report.columns), "difference"]
    headings += ["95 % interval", "p"] if with_tests else []
    headings.append("verdict")
    rows = []
    for row in report.rows:
        cells = [row.entry.name, *_settings(row, keys), written(report.metric, row.value)]
        cells += [_spread(report, row)] if with_seeds else []
        cells += [written(key, row.entry.figures.get(key)) for key in report.columns]
        cells += difference_texts(report.metric, row.comparison)[: 3 if with_tests else 1]
        rows.append([*cells, told(row.verdict, reason_beside(row))])
    return headings, rows, 1 + len(keys)


def pair_texts(report: Report) -> Texts:
    """Return all pairs as texts, the left one judged against the right."""
    headings = ["run", "against", "difference", "95 % interval", "p", "verdict"]
    rows = [
        [
            pair.left.name,
            pair.right.name,
            *difference_texts(report.metric, pair),
            told(pair.verdict, pair.reason),
        ]
        for pair in report.pairs
    ]
    return headings, rows, 2


def reason_beside(row: Row) -> str:
    """Return the reason to show in the row; what is said of a damaged file is long, and in a note."""
    return "" if row.verdict == DAMAGED else row.reason


def told(verdict: str, reason: str) -> str:
    """Return verdict and reason as one text."""
    if not verdict or not reason:
        return verdict or reason
    return f"{verdict}: {reason}" if verdict in (NOT_COMPARABLE, NOT_TESTED) else f"{verdict}, {reason}"


def summary(report: Report) -> list[str]:
    """Return the lines to read with the table: baseline, tests, seeds, and the notes."""
    lines = []
    if report.baseline is not None:
        lines.append(f"baseline: {report.baseline.name} ({report.chosen})")
    judgement = report.judgement
    if judgement.num_tests:
        lines.append(
            f"tests: {judgement.num_tests} over {judgement.num_users:,} users, p-values corrected for their"
            " number (Holm); each interval is of its difference alone"
        )
    if report.luck is not None:
        sd, reach = written(report.metric, report.luck.sd), written(report.metric, report.luck.reach)
        lines.append(
            f"seeds: sd {sd} over {report.luck.num_seeds} seeds, so that other seeds alone may well set two"
            f" single runs {reach} apart"
        )
    return [*lines, *(f"note: {note}" for note in report.notes)]


def plain_rows(report: Report) -> list[dict[str, Any]]:
    """Return each row as plain values by name; None where there is none."""
    return [_plain_row(report, row) for row in report.rows]


def _plain_row(report: Report, row: Row) -> dict[str, Any]:
    entry, spread = row.entry, row.spread
    of_run = entry.kind != "baseline"
    return {
        "name": entry.name,
        "kind": entry.kind,
        "folder": str(entry.run.folder),
        "state": entry.run.state if of_run else "ok",
        "seeds": entry.seeds,
        **{key: entry.run.settings.get(key) if of_run else None for key in report.keys},
        report.metric: row.value,
        **{key: entry.figures.get(key) for key in report.columns},
        "seed_mean": spread.mean if spread else None,
        "seed_sd": spread.sd if spread else None,
        "num_seeds": spread.num_seeds if spread else None,
        **plain_comparison(row.comparison),
        "verdict": row.verdict,
        "reason": row.reason,
    }


def plain_comparison(comparison: Comparison | None) -> dict[str, float | None]:
    """Return a comparison's figures by name."""
    tested = comparison.tested if comparison else None
    return {
        "difference": comparison.delta if comparison else None,
        "low": tested.low if tested else None,
        "high": tested.high if tested else None,
        "p_value": tested.p_value if tested else None,
        "corrected_p_value": tested.corrected if tested else None,
    }


def _what(report: Report) -> str:
    by_configuration = any(row.entry.kind == "configuration" for row in report.rows)
    return "configuration" if by_configuration else "run"


def _settings(row: Row, keys: Sequence[str]) -> list[str]:
    if row.entry.kind == "baseline":
        return ["" for _ in keys]
    return [shown_value(row.entry.run.settings, key) for key in keys]


def _spread(report: Report, row: Row) -> str:
    if row.spread is None:
        return ""
    mean, sd = written(report.metric, row.spread.mean), written(report.metric, row.spread.sd)
    return f"{mean} ± {sd} ({row.spread.num_seeds})"


def difference_texts(metric: str, comparison: Comparison | None) -> list[str]:
    """Return difference, interval and corrected p of a comparison as texts."""
    delta = written(metric, comparison.delta, sign=True) if comparison else ""
    tested = comparison.tested if comparison else None
    if tested is None:
        return [delta, "", ""]
    low, high = written(metric, tested.low, sign=True), written(metric, tested.high, sign=True)
    return [delta, f"[{low}, {high}]", _p_value(tested.corrected)]


def _p_value(value: float) -> str:
    return "<.0001" if value < 0.0001 else f"{value:.4f}"
