"""The lines a run says and the table it ends with."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "recall_at_10",
    "recall_at_20",
    "ndcg_at_10",
    "ndcg_at_20",
    "mrr_at_20",
    "coverage_at_20",
)
MOST_COLUMNS = 5


def say(text: str) -> None:
    """Print one line."""
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def audit_table(rows: list[tuple[str, str]]) -> None:
    """Print the audit of the split."""
    table = Table("split audit", "", box=None, pad_edge=False, header_style="bold")
    for name, value in rows:
        table.add_row(name, value)
    Console(highlight=False).print(table)


def result_table(result: Mapping[str, Any]) -> None:
    """Print the one table a run ends with: model and baselines on the test split, then the index."""
    metrics, intervals = result["metrics"], result["intervals"]
    named = [key for key in COLUMNS if f"test/{key}" in metrics]
    keys = (
        named[:MOST_COLUMNS]
        or [key.removeprefix("test/") for key in metrics if key.startswith("test/")][:MOST_COLUMNS]
    )
    table = Table(title="test split", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for key in keys:
        table.add_column(key.replace("_at_", "@"), justify="right", no_wrap=True)
    table.add_row("two towers", *(f"{metrics[f'test/{key}']:.4f}" for key in keys), style="bold")
    half = [_half_width(intervals.get(f"test/{key}")) for key in keys]
    table.add_row("  95 % interval", *half, style="dim")
    for name, values in result["baselines"].items():
        table.add_row(
            name, *(f"{values[f'test/{key}']:.4f}" if f"test/{key}" in values else "" for key in keys)
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(_index_table(result["index"]))


def _half_width(interval: list[float] | None) -> str:
    return "" if interval is None else f"± {(interval[1] - interval[0]) / 2:.4f}"


def _index_table(index: Mapping[str, Any]) -> Table:
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "every item"
    drop = index["label_metric_drop"]
    shown = [key for key in ("recall_at_20", "ndcg_at_20") if key in drop] or list(drop)[:2]
    rows = {
        "kind": f"{index['type']} ({index['factory']}), searching {search}",
        f"recall@{index['recall_k']}": f"{index['recall_at_100']:.4f} against exact search",
        "cost on labels": ", ".join(f"{key.replace('_at_', '@')} {0.0 - drop[key]:+.4f}" for key in shown),
        "latency": f"p50 {index['latency_ms_p50']:.3f} ms, p99 {index['latency_ms_p99']:.3f} ms a query",
        "throughput": f"{index['queries_per_second']:,.0f} queries/s in a batch",
        "size": f"{index['index_bytes']:,} bytes, {index['bytes_per_item']:.0f} an item",
        "checks": "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"]),
    }
    table = Table(
        title="index", title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False
    )
    for name, value in rows.items():
        table.add_row(name, value)
    return table
