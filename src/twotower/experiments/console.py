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
    "hit_rate_at_10",
    "mrr_at_20",
    "coverage_at_20",
)


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
    console = Console(highlight=False, width=max(100, Console().width))
    shown = [key for key in COLUMNS if f"test/{key}" in result["metrics"]][:6]
    table = Table(title="test split", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for key in shown:
        table.add_column(key.replace("_at_", "@"), justify="right")
    table.add_row("two towers", *(f"{result['metrics'][f'test/{key}']:.4f}" for key in shown), style="bold")
    interval = [result["intervals"].get(f"test/{key}") for key in shown]
    table.add_row("  95 % interval", *("" if i is None else f"{i[0]:.4f}-{i[1]:.4f}" for i in interval))
    for name, metrics in result["baselines"].items():
        table.add_row(
            name, *(f"{metrics[f'test/{key}']:.4f}" if f"test/{key}" in metrics else "-" for key in shown)
        )
    console.print(table)
    console.print(index_table(result["index"]))


def index_table(index: Mapping[str, Any]) -> Table:
    """Return the figures of the index as a table of one row."""
    table = Table(title="index", title_justify="left", title_style="bold", box=None, pad_edge=False)
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "exact"
    drops = ", ".join(f"{key} {value:+.4f}" for key, value in index["label_metric_drop"].items())
    row = {
        "kind": index["type"],
        "factory": index["factory"],
        "search": search,
        f"recall@{index['recall_k']}": f"{index['recall_at_100']:.4f}",
        "drop on labels": drops,
        "p50 / p99 ms": f"{index['latency_ms_p50']:.3f} / {index['latency_ms_p99']:.3f}",
        "queries/s": f"{index['queries_per_second']:,.0f}",
        "bytes/item": f"{index['bytes_per_item']:.0f}",
        "checks": "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"]),
    }
    for name in row:
        table.add_column(name, justify="left" if name in ("kind", "factory", "search", "checks") else "right")
    table.add_row(*row.values())
    return table
