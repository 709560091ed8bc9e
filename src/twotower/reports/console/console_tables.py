"""The tables of a run, of an index, of a sweep and of a first look."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from twotower.config.progress import duration_text
from twotower.evaluation.user_values import metric_k
from twotower.reports.compare.figure_names import INDEX_COLUMNS, exact_key, format_figure, heading
from twotower.reports.console.sweep_summary import SweepSummary, differ_in_seed_only
from twotower.runs.outcome import Outcome, lower_is_better
from twotower.runs.result import COLD_START, TEST_EXACT, Result

COLUMNS = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "mrr_at_20", "coverage_at_20")
MOST_COLUMNS = 5
MODEL = "two towers"
STATUS_STYLES = {"ok": "green", "index_rejected": "yellow", "pruned": "cyan", "failed": "bold red"}
TEXTS = {"", "job", "settings", "status", "recipe"}
"""Headings of columns of text, which are aligned to the left."""

WHOLE = {"", "recipe"}
"""Headings of columns that are never wrapped."""


def make_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], styles: Iterable[str] = ()
) -> Table:
    """Return a table without lines; without headings, all columns are text."""
    columns = [
        Column(each, justify="left" if each in TEXTS else "right", no_wrap=each in WHOLE, overflow="fold")
        for each in headings
    ]
    table = Table(*columns, title=title, box=None, pad_edge=False, show_header=bool(headings))
    table.title_justify, table.title_style, table.header_style = "left", "bold", "bold"
    for cells, style in zip_longest(rows, styles, fillvalue=""):
        table.add_row(*cells, style=str(style))
    return table


def result_tables(result: Result) -> Iterator[Table]:
    """Yield the tables of a run: test metrics next to the baselines, labels, cold start, index."""
    tested = [key for key in result.metrics if key.startswith("test/")]
    if tested:
        yield _quality_table(result, tested)
    if labelled := result.evaluated.get("test", {}).get("labelled"):
        keys = [key for key in tested if not metric_k(key)]
        title = f"labels: {labelled:,} examples of the test split"
        yield make_table(title, ["", *map(heading, keys)], _model_rows(result, keys), ("bold", "dim"))
    if result.cold_start:
        yield cold_start_table(result.cold_start)
    if result.index:
        yield _index_table(result.index)


def _quality_table(result: Result, tested: Sequence[str]) -> Table:
    """Return test metrics of the model (served lists, then exact search) and of the baselines."""
    keys = ([f"test/{name}" for name in COLUMNS if f"test/{name}" in tested] or list(tested))[:MOST_COLUMNS]
    rows, styles = _model_rows(result, keys), ["bold", "dim"]
    if TEST_EXACT in result.slices:
        exact = (format_figure(key, result.metrics.get(exact_key(key))) for key in keys)
        rows.append(["  by exact search", *exact])
        styles.append("dim")
    for baseline, values in result.baselines.items():
        rows.append([baseline, *(format_figure(key, values.get(key)) for key in keys)])
    return make_table("test split", ["", *map(heading, keys)], rows, styles)


def _model_rows(result: Result, keys: Sequence[str]) -> list[list[str]]:
    """Return the row of the model, and that of its intervals."""
    intervals = [result.intervals.get(key) for key in keys]
    halves = ["" if each is None else f"± {(each[1] - each[0]) / 2:.4f}" for each in intervals]
    metrics = [format_figure(key, result.metrics[key]) for key in keys]
    return [[MODEL, *metrics], ["  95 % interval", *halves]]


def cold_start_table(recalls: Mapping[str, Any]) -> Table:
    """Return recall on cold and warm items of the test split, a row per part, columns per model."""
    parts = list(recalls["num_users"])
    keys = list(recalls["random"][parts[0]])
    keys = [key for key in COLUMNS if key in keys] or keys[:2]
    cells = [(model, key) for model in COLD_START if model in recalls for key in keys]
    rows = [
        [
            part.replace("_", " "),
            *(format_figure(key, recalls[model][part].get(key)) for model, key in cells),
        ]
        for part in parts
    ]
    headings = ["", *("\n".join([*COLD_START[model].split(), heading(key)]) for model, key in cells)]
    title = f"cold start: {recalls['num_cold_items']:,} items that training never saw, added live"
    return make_table(title, headings, rows)


def _index_table(index: Mapping[str, Any]) -> Table:
    """Return kind, recall, latency and size of the index, and its metrics minus those of exact search."""
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "every item"
    rows = {
        "kind": f"{index['type']} ({index['factory']}), searching {search}",
        f"recall@{index['recall_k']}": f"{index['recall_at_100']:.4f} against exact search",
        "metrics": f"{_differences(index)} against exact search",
        "latency": f"p50 {index['latency_ms_p50']:.3f} ms, p99 {index['latency_ms_p99']:.3f} ms a query",
        "throughput": f"{index['queries_per_second']:,.0f} queries/s in a batch",
        "size": f"{index['index_bytes']:,} bytes, {index['bytes_per_item']:.0f} an item",
        "checks": "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"]),
    }
    for each in index.get("shorter", ()):
        rows[f"dim {each['dim']}"] = f"{_differences(each)}, {each['index_bytes']:,} bytes"
    return make_table("index", (), rows.items())


def _differences(index: Mapping[str, Any]) -> str:
    """Return validation metrics through the index minus those of exact search, with intervals."""
    differences, intervals = index["label_difference"], index["label_difference_interval"]
    shown = [key for key in ("recall_at_20", "ndcg_at_20") if key in differences] or list(differences)[:2]
    parts = []
    for key in shown:
        low, high = intervals.get(key, (0.0, 0.0))
        between = f" [{low:+.4f}, {high:+.4f}]" if low < high else ""
        parts.append(f"{heading(key)} {differences[key]:+.4f}{between}")
    return ", ".join(parts)


def sweep_table(summary: SweepSummary) -> Table:
    """Return the jobs that did not fail, from best to worst."""
    jobs, metric, best = summary.jobs, summary.metric, summary.best
    costs = [key for key in INDEX_COLUMNS if len({each.figure(key) for each in jobs}) > 1]
    test = metric.replace("valid/", "test/")
    settings = [summary.settings(each.name) for each in jobs]
    columns: dict[str, list[str]] = {
        "job": [each.name for each in jobs],
        **({"settings": settings} if any(settings) else {}),
        "status": [each.status for each in jobs],
        heading(metric): [format_figure(metric, each.served(metric)) for each in jobs],
        "test": [format_figure(test, each.figure(test)) for each in jobs],
        **{heading(key): [format_figure(key, each.figure(key)) for each in jobs] for key in costs},
        "seconds": ["before" if each.skipped else f"{each.seconds:.1f}" for each in jobs],
    }
    if len(jobs) == 1:
        title = "1 job"
    elif differ_in_seed_only(jobs):
        title = f"{len(jobs)} seeds"
    else:
        is_through = any(each.served(metric) != each.figure(metric) for each in jobs)
        order = ", lowest first" if lower_is_better(jobs, metric) else ""
        title = f"{len(jobs)} jobs by {heading(metric)}{' through the index' if is_through else ''}{order}"
    colors = STATUS_STYLES | {"ok": ""}
    styles = ["bold" if best and best.job == each.name else colors.get(each.status, "") for each in jobs]
    return make_table(title, list(columns), zip(*columns.values(), strict=True), styles)


def index_pareto_table(summary: SweepSummary) -> Table:
    """Return the Pareto front of a sweep's indexes, with metric, latency and size."""
    keys, num_jobs = (summary.metric, *INDEX_COLUMNS), len(summary.outcomes)
    rows = [[each.name, *(format_figure(key, each.served(key)) for key in keys)] for each in summary.pareto]
    title = f"Pareto set: {len(rows)} of {num_jobs} indexes, by {heading(summary.metric)}, latency and bytes"
    return make_table(title, ["job", *map(heading, keys)], rows)


def recipes_table(look: Mapping[str, Any]) -> Table:
    """Return a row per recipe of a first look, the best first, then the best baselines, by validation."""
    metric = look["metric"]
    parts = {"whole": "all users"}
    if look["share"] < 1:
        parts = {"sample": f"{look['share']:.3g} of users", **parts}
    rows, styles = [], []
    for row in look["recipes"]:
        cells = [format_figure(metric, row[part]) for part in parts]
        cells += ["" if row["seconds"][part] is None else f"{row['seconds'][part]:.0f}" for part in parts]
        words = " ".join(filter(None, [row["sets"], f"({row['note']})" if row["note"] else ""]))
        rows.append([row["recipe"], *cells, words])
        styles.append("bold" if look["best"] and row["recipe"] == look["best"]["recipe"] else "")
    for name, figures in look["baselines"].items():
        rows.append([f"baseline {name}", *(format_figure(metric, figures[part]) for part in parts)])
        styles.append("dim")
    seconds = [f"seconds, {words}" if len(parts) > 1 else "seconds" for words in parts.values()]
    headings = ["recipe", *parts.values(), *seconds, "settings"]
    return make_table(f"first look by {heading(metric)}", headings, rows, styles)


def first_look_lines(look: Mapping[str, Any]) -> list[str]:
    """Return lines on the recipes that are left out, and on the best one, with its command."""
    best = look["best"]
    lines = [f"left out    {name}: {reason}" for name, reason in look["left_out"].items()]
    if best is None:
        return [*lines, "no recipe completed an epoch; increase sweep.minutes or decrease sweep.share"]
    on = "all users" if best["on"] == "whole" else "the sample alone; no recipe was trained on all users"
    lines += [f"best        {best['recipe']}  {heading(look['metric'])} {best['value']:.4f}  on {on}"]
    if best["behind_baseline"]:
        lines.append("warning: the best baseline is better on the validation split")
    note = "  (reuses its trained towers)" if best["on"] == "whole" and best["ended"] else ""
    return [*lines, f"train       {best['command']}{note}"]


def ended_line(outcome: Outcome, metric: str) -> str:
    """Return one line for a job that ended."""
    value = outcome.served(metric)
    parts = [
        f"{outcome.status:<14}",
        outcome.name,
        "" if value is None else f"{heading(metric)} {format_figure(metric, value)}",
        "" if outcome.skipped else duration_text(outcome.seconds),
        remark(outcome),
        (outcome.error or "").partition("\n")[0],
    ]
    return "  ".join(part for part in parts if part)


def remark(outcome: Outcome) -> str:
    """Return a remark on a job: done before, or the run whose towers it reuses."""
    if outcome.skipped:
        return "done before"
    if not outcome.reused_from:
        return ""
    source = Path(outcome.reused_from).absolute()
    inside = source.parent == outcome.folder.parent.absolute()
    return f"towers of {source.name if inside else outcome.reused_from}"
