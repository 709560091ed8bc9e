"""The tables of a run and of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from twotower.experiments.console.time_left import in_words
from twotower.experiments.outcome import Outcome, best_of, by_metric

COLUMNS = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "mrr_at_20", "coverage_at_20")
MOST_COLUMNS, MIN_NAME = 5, 16
INDEX_COLUMNS = {
    "index/recall_at_100": ("index recall", "{:.4f}"),
    "index/latency_ms_p50": ("p50 ms", "{:.3f}"),
    "index/bytes_per_item": ("bytes/item", "{:,.0f}"),
}
STATUS_STYLES = {"ok": "green", "index_rejected": "yellow", "pruned": "cyan", "failed": "bold red"}


def plain_table(title: str | None = None, show_header: bool = True) -> Table:
    """Return a table without lines."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=show_header,
        header_style="bold",
    )


def audit_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Return the audit of the split."""
    table = plain_table("split audit", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    return table


def quality_table(result: Mapping[str, Any]) -> Table:
    """Return model and baselines on the test split."""
    metrics, intervals = result["metrics"], result["intervals"]
    tested = [key.removeprefix("test/") for key in metrics if key.startswith("test/")]
    keys = ([key for key in COLUMNS if key in tested] or tested)[:MOST_COLUMNS]
    table = plain_table("test split")
    table.add_column("", no_wrap=True)
    for key in keys:
        table.add_column(_short(key), justify="right", no_wrap=True)
    table.add_row("two towers", *(f"{metrics[f'test/{key}']:.4f}" for key in keys), style="bold")
    half = [_half_width(intervals.get(f"test/{key}")) for key in keys]
    table.add_row("  95 % interval", *half, style="dim")
    for name, values in result["baselines"].items():
        table.add_row(name, *(_figure(values.get(f"test/{key}")) for key in keys))
    return table


def index_table(index: Mapping[str, Any]) -> Table:
    """Return what the index is and what it costs."""
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "every item"
    drop = index["label_metric_drop"]
    shown = [key for key in ("recall_at_20", "ndcg_at_20") if key in drop] or list(drop)[:2]
    rows = {
        "kind": f"{index['type']} ({index['factory']}), searching {search}",
        f"recall@{index['recall_k']}": f"{index['recall_at_100']:.4f} against exact search",
        "cost on labels": ", ".join(f"{_short(key)} {0.0 - drop[key]:+.4f}" for key in shown),
        "latency": f"p50 {index['latency_ms_p50']:.3f} ms, p99 {index['latency_ms_p99']:.3f} ms a query",
        "throughput": f"{index['queries_per_second']:,.0f} queries/s in a batch",
        "size": f"{index['index_bytes']:,} bytes, {index['bytes_per_item']:.0f} an item",
        "checks": "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"]),
    }
    table = plain_table("index", show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def sweep_table(outcomes: Sequence[Outcome], metric: str) -> Table:
    """Return the jobs that did not fail, from best to worst by the validation metric.

    Args:
        outcomes: of a sweep.
        metric: of the validation split, e.g. `valid/recall_at_20`.
    """
    shown = [outcome for outcome in by_metric(outcomes, metric) if outcome.status != "failed"]
    best = best_of(shown, metric)
    test = metric.replace("valid/", "test/")
    index = {
        key: form for key, form in INDEX_COLUMNS.items() if len({each.figure(key) for each in shown}) > 1
    }
    table = plain_table(f"{len(shown)} jobs by {_short(metric)}" if len(shown) != 1 else "1 job")
    table.add_column("job", overflow="fold", min_width=MIN_NAME)
    table.add_column("status", no_wrap=True)
    for name in (
        "valid " + _short(metric.removeprefix("valid/")),
        "test",
        *(name for name, _ in index.values()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    for outcome in shown:
        table.add_row(
            outcome.name,
            outcome.status,
            _figure(outcome.figure(metric)),
            _figure(outcome.figure(test)),
            *(_figure(outcome.figure(key), form) for key, (_, form) in index.items()),
            "before" if outcome.skipped else f"{outcome.seconds:.1f}",
            style="bold" if outcome is best else STATUS_STYLES.get(outcome.status.replace("ok", ""), ""),
        )
    return table


def ended_line(outcome: Outcome, metric: str) -> str:
    """Return one line for a job that ended."""
    value = outcome.figure(metric)
    parts = [
        f"{outcome.status:<14}",
        outcome.name,
        "" if value is None else f"{_short(metric)} {value:.4f}",
        "" if outcome.skipped else in_words(outcome.seconds),
        remark(outcome),
        (outcome.error or "").partition("\n")[0],
    ]
    return "  ".join(part for part in parts if part)


def remark(outcome: Outcome) -> str:
    """Return what is special about a job: done before, or whose towers it took."""
    if outcome.skipped:
        return "done before"
    return f"towers of {outcome.reused_from.rstrip('/').rpartition('/')[2]}" if outcome.reused_from else ""


def _short(key: str) -> str:
    return key.replace("_at_", "@")


def _figure(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)


def _half_width(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"± {(interval[1] - interval[0]) / 2:.4f}"
