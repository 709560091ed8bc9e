"""The report of `twotower index_lab runbook=...`: a table, a page and a figure."""

from collections.abc import Iterator, Sequence

from twotower.index.churn import ChurnRow
from twotower.reports.index_lab_report import LabReport
from twotower.reports.plots import churn_curves

NOTE = """{title}. A row is an index after a step: <i>changed</i> is the share of the items that were
replaced so far. Recall is that against exact search of the items of the step. p50 and p99 are the times of
one query on one thread; <i>of start</i> is p99 divided by that of the index before the first step, searched
in alternation. <i>change</i> and <i>balance</i> are seconds of removing and adding items, and of splitting
and dropping cells and tuning. <i>imbalance</i> is the mean size of the cell of an item, divided by that of
a cell."""


def label(row: ChurnRow) -> str:
    """Return the name of a row; cells that are left alone are named."""
    has_cells = row.points[0].num_cells is not None
    return f"{row.name}, cells as built" if has_cells and not row.is_maintained else row.name


def headings(rows: Sequence[ChurnRow]) -> list[str]:
    """Return the headings of the table."""
    recall = [f"recall@{k}" for k in rows[0].points[0].recall]
    times = ["p50 ms", "p99 ms", "of start", "change s", "balance s"]
    return ["index", "changed", "search", *recall, *times, "cells", "imbalance"]


def cells(rows: Sequence[ChurnRow]) -> Iterator[list[str]]:
    """Yield the cells of each row of the table."""
    for row in rows:
        for point in row.points:
            yield [
                label(row),
                f"{point.changed:.0%}",
                " ".join(f"{key}={value}" for key, value in point.search_args.items()) or "all",
                *(f"{value:.4f}" for value in point.recall.values()),
                f"{point.latency_ms_p50:.3f}",
                f"{point.latency_ms_p99:.3f}",
                f"{point.p99_ratio:.2f}",
                f"{point.change_seconds:.2f}",
                f"{point.balance_seconds:.2f}",
                "" if point.num_cells is None else f"{point.num_cells:,}",
                "" if point.imbalance is None else f"{point.imbalance:.2f}",
            ]


def churn_report(rows: Sequence[ChurnRow], title: str) -> LabReport:
    """Return the report of indexes that followed a runbook."""
    body, figures = list(cells(rows)), {"churn": churn_curves({label(row): row for row in rows})}
    return LabReport(title, NOTE.format(title=title), headings(rows), body, [False] * len(body), figures)
