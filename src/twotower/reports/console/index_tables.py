"""The tables of an index, and of the indexes of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from twotower.reports.console.console import form_of
from twotower.reports.console.run_tables import INDEX_COLUMNS, figure, jobs_table, plain_table, short
from twotower.runs.outcome import Outcome


def index_table(index: Mapping[str, Any]) -> Table:
    """Return kind, recall, latency and size of the index, and its metrics minus those of exact search."""
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "every item"
    rows = {
        "kind": f"{index['type']} ({index['factory']}), searching {search}",
        f"recall@{index['recall_k']}": f"{index['recall_at_100']:.4f} against exact search",
        "metrics": f"{_label_difference(index)} against exact search",
        "latency": f"p50 {index['latency_ms_p50']:.3f} ms, p99 {index['latency_ms_p99']:.3f} ms a query",
        "throughput": f"{index['queries_per_second']:,.0f} queries/s in a batch",
        "size": f"{index['index_bytes']:,} bytes, {index['bytes_per_item']:.0f} an item",
        "checks": "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"]),
    }
    for each in index.get("shorter", ()):
        rows[f"dim {each['dim']}"] = f"{_label_difference(each)}, {each['index_bytes']:,} bytes"
    table = plain_table("index", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _label_difference(index: Mapping[str, Any]) -> str:
    """Return validation metrics through the index minus those of exact search, with intervals."""
    differences, intervals = index["label_difference"], index["label_difference_interval"]
    shown = [key for key in ("recall_at_20", "ndcg_at_20") if key in differences] or list(differences)[:2]
    parts = []
    for key in shown:
        low, high = intervals.get(key, (0.0, 0.0))
        between = f" [{low:+.4f}, {high:+.4f}]" if low < high else ""
        parts.append(f"{short(key)} {differences[key]:+.4f}{between}")
    return ", ".join(parts)


def pareto_table(indexes: Sequence[Outcome], num_jobs: int, metric: str) -> Table:
    """Return the Pareto front of a sweep's indexes, with metric, latency and size."""
    kind = short(metric.removeprefix("valid/"))
    title = f"Pareto set: {len(indexes)} of {num_jobs} indexes, by {kind}, latency and bytes"
    lines = []
    for each in indexes:
        cells = [
            figure(each.served(metric)),
            *(figure(each.figure(key), form_of(key)) for key in INDEX_COLUMNS),
        ]
        lines.append((each.name, cells, ""))
    return jobs_table(title, [f"valid {kind}", *INDEX_COLUMNS.values()], lines)
