"""The tables of a run, of an index, of a sweep and of a first look."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from twotower.config.progress import duration_text
from twotower.evaluation.user_values import metric_k
from twotower.reports.compare.figure_names import heading
from twotower.reports.console.console import NOTHING, Findings, differ_in_seed_only, form_of
from twotower.runs.outcome import Outcome, lower_is_better
from twotower.runs.result import COLD_START, TARGET_REPEAT, TEST_EXACT, Result

COLUMNS = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "mrr_at_20", "coverage_at_20")
MOST_COLUMNS = 5
INDEX_COLUMNS = {
    "index/recall_at_100": "index recall",
    "index/latency_ms_p50": "p50 ms",
    "index/bytes_per_item": "bytes/item",
}
MODEL, ARROWS = "two towers", {"maximize": "↑", "minimize": "↓"}
STATUS_STYLES = {"ok": "green", "index_rejected": "yellow", "pruned": "cyan", "failed": "bold red"}
TEXTS = {"", "job", "settings", "status", "recipe", "against", "verdict"}
"""Headings of columns of text, which are aligned to the left."""

WHOLE = {"", "recipe"}
"""Headings of columns that are never wrapped."""

Row = tuple[Sequence[str], str]
"""Cells and a style."""


def make_table(title: str, headings: Sequence[str], rows: Iterable[Row]) -> Table:
    """Return a table without lines; without headings, all columns are text."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=None,
        pad_edge=False,
        show_header=bool(headings),
    )
    for each in headings:
        is_text = each in TEXTS
        table.add_column(each, justify="left" if is_text else "right", no_wrap=each in WHOLE, overflow="fold")
    for cells, style in rows:
        table.add_row(*cells, style=style)
    return table


def audit_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Return the audit of the split."""
    return make_table("split audit", (), ((row, "") for row in rows))


def result_tables(result: Result) -> list[Table]:
    """Return the tables of a run: test metrics next to the baselines, cold start, index."""
    tables = []
    if result.metrics:
        tables.append(_quality_table(result))
        if TARGET_REPEAT in result.slices.get("test", {}):
            tables.append(_repeats_table(result))
        if labelled := result.evaluated.get("test", {}).get("labelled"):
            keys = [key for key in result.metrics if key.startswith("test/") and not metric_k(key)]
            title = f"labels: {labelled:,} examples of the test split"
            headings = ["", *(key.removeprefix("test/") for key in keys)]
            tables.append(make_table(title, headings, _model_rows(result, keys)))
    if result.cold_start:
        tables.append(cold_start_table(result.cold_start))
    if result.index:
        tables.append(_index_table(result.index))
    return tables


def _quality_table(result: Result) -> Table:
    """Return test metrics of the model (served lists, then exact search) and of the baselines."""
    tested = [key.removeprefix("test/") for key in result.metrics if key.startswith("test/")]
    names = ([key for key in COLUMNS if key in tested] or tested)[:MOST_COLUMNS]
    keys = [f"test/{name}" for name in names]
    rows = _model_rows(result, keys)
    if TEST_EXACT in result.slices:
        exact = [figure(result.metrics.get(f"{TEST_EXACT}/{name}")) for name in names]
        rows.append((["  by exact search", *exact], "dim"))
    for baseline, values in result.baselines.items():
        rows.append(([baseline, *(figure(values.get(key)) for key in keys)], ""))
    return make_table("test split", ["", *map(short, names)], rows)


def _model_rows(result: Result, keys: Sequence[str]) -> list[Row]:
    """Return the row of the model, and that of its intervals."""
    intervals = [result.intervals.get(key) for key in keys]
    halves = ["" if each is None else f"± {(each[1] - each[0]) / 2:.4f}" for each in intervals]
    metrics = [figure(result.metrics[key]) for key in keys]
    return [([MODEL, *metrics], "bold"), (["  95 % interval", *halves], "dim")]


def _repeats_table(result: Result) -> Table:
    """Return recall of new and of repeated targets, of the model and the baselines."""
    slices = {MODEL: result.slices["test"][TARGET_REPEAT], **result.baseline_slices}
    parts = slices[MODEL]
    keys = [key for key in COLUMNS if any(key in values for values in parts.values())][:2]
    sizes = " and ".join(f"{values['num_targets']:,} {part}" for part, values in parts.items())
    headings = ["", *(f"{part} {short(key)}" for part in parts for key in keys)]
    rows = [
        (
            [name, *(figure(values.get(part, {}).get(key)) for part in parts for key in keys)],
            "bold" if name == MODEL else "",
        )
        for name, values in slices.items()
    ]
    return make_table(f"test split: {sizes} targets", headings, rows)


def cold_start_table(recalls: Mapping[str, Any]) -> Table:
    """Return recall on cold and warm items of the test split, a row per part, columns per model."""
    parts = list(recalls["num_users"])
    keys = list(recalls["random"][parts[0]])
    keys = [key for key in COLUMNS if key in keys] or keys[:2]
    models = {model: words for model, words in COLD_START.items() if model in recalls}
    headings = ["\n".join([*words.split(), short(key)]) for words in models.values() for key in keys]
    rows = [
        (
            [
                part.replace("_", " "),
                *(figure(recalls[model][part].get(key)) for model in models for key in keys),
            ],
            "",
        )
        for part in parts
    ]
    title = f"cold start: {recalls['num_cold_items']:,} items that training never saw, added live"
    return make_table(title, ["", *headings], rows)


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
    return make_table("index", (), ((row, "") for row in rows.items()))


def _differences(index: Mapping[str, Any]) -> str:
    """Return validation metrics through the index minus those of exact search, with intervals."""
    differences, intervals = index["label_difference"], index["label_difference_interval"]
    shown = [key for key in ("recall_at_20", "ndcg_at_20") if key in differences] or list(differences)[:2]
    parts = []
    for key in shown:
        low, high = intervals.get(key, (0.0, 0.0))
        between = f" [{low:+.4f}, {high:+.4f}]" if low < high else ""
        parts.append(f"{short(key)} {differences[key]:+.4f}{between}")
    return ", ".join(parts)


def sweep_table(outcomes: Sequence[Outcome], metric: str, findings: Findings = NOTHING) -> Table:
    """Return the jobs that did not fail, from best to worst; without the Pareto set of several objectives."""
    shown = [each for each in findings.ranked(outcomes, metric) if each.status != "failed"]
    if not findings.is_ranked_by(shown, metric):
        best = {row["job"] for row in findings.best} if len(findings.objectives) > 1 else set()
        shown = [each for each in shown if each.name not in best]
        title = f"{len(shown)} {'other job' if best else 'job'}{'' if len(shown) == 1 else 's'}"
        lines = [
            (each.name, [each.status, *_objectives(each.name, findings)], _style(each)) for each in shown
        ]
        return _jobs_table(title, ["status", *_objective_headings(findings)], lines, findings)
    winner = findings.winner(shown, metric)
    index = [key for key in INDEX_COLUMNS if len({each.figure(key) for each in shown}) > 1]
    order = ", lowest first" if lower_is_better(shown, metric) else ""
    is_through = any(each.served(metric) != each.figure(metric) for each in shown)
    title = f"{len(shown)} jobs by {short(metric)}{' through the index' if is_through else ''}{order}"
    if differ_in_seed_only(shown):
        title = f"{len(shown)} seeds"
    lines = []
    for outcome in shown:
        figures = [figure(outcome.served(key)) for key in (metric, metric.replace("valid/", "test/"))]
        figures += [figure(outcome.figure(key), form_of(key)) for key in index]
        seconds = "before" if outcome.skipped else f"{outcome.seconds:.1f}"
        style = "bold" if winner and winner.job == outcome.name else _style(outcome)
        lines.append((outcome.name, [outcome.status, *figures, seconds], style))
    valid = f"valid {short(metric.removeprefix('valid/'))}"
    headings = ["status", valid, "test", *(INDEX_COLUMNS[key] for key in index), "seconds"]
    return _jobs_table("1 job" if len(shown) == 1 else title, headings, lines, findings)


def pareto_table(findings: Findings) -> Table:
    """Return the Pareto set of a search with several objectives."""
    lines = [(row["job"], _objectives(row["job"], findings), "") for row in findings.best]
    title = f"Pareto set: {len(lines)} of {len(findings.search['trials'])} trials"
    return _jobs_table(title, _objective_headings(findings), lines, findings)


def index_pareto_table(indexes: Sequence[Outcome], num_jobs: int, metric: str) -> Table:
    """Return the Pareto front of a sweep's indexes, with metric, latency and size."""
    kind = short(metric.removeprefix("valid/"))
    lines = [
        (
            each.name,
            [figure(each.served(metric)), *(figure(each.figure(key), form_of(key)) for key in INDEX_COLUMNS)],
            "",
        )
        for each in indexes
    ]
    title = f"Pareto set: {len(indexes)} of {num_jobs} indexes, by {kind}, latency and bytes"
    return _jobs_table(title, [f"valid {kind}", *INDEX_COLUMNS.values()], lines, NOTHING)


def _jobs_table(
    title: str, headings: Sequence[str], lines: Sequence[tuple[str, list[str], str]], findings: Findings
) -> Table:
    """Return a row per job, with its settings if a search varies them."""
    settings = {job: findings.settings(job) for job, _, _ in lines}
    if not any(settings.values()):
        return make_table(title, ["job", *headings], (([job, *cells], style) for job, cells, style in lines))
    rows = (([job, settings[job], *cells], style) for job, cells, style in lines)
    return make_table(title, ["job", "settings", *headings], rows)


def _objective_headings(findings: Findings) -> list[str]:
    return [f"{short(key).replace('/', ' ', 1)} {ARROWS[way]}" for key, way in findings.objectives.items()]


def _objectives(job: str, findings: Findings) -> list[str]:
    values = findings.values(job)
    return [figure(values.get(key), form_of(key)) for key in findings.objectives]


def _style(outcome: Outcome) -> str:
    return "" if outcome.status == "ok" else STATUS_STYLES.get(outcome.status, "")


def recipes_table(look: Mapping[str, Any]) -> Table:
    """Return a row per recipe of a first look, the best first, then the best baselines, by validation."""
    best = look["best"] or {}
    parts = {"whole": "all users"}
    if look["share"] < 1:
        parts = {"sample": f"{look['share']:.3g} of users", **parts}
    seconds = [f"seconds, {words}" if len(parts) > 1 else "seconds" for words in parts.values()]
    rows = []
    for row in look["recipes"]:
        cells = [figure(row[part]) for part in parts]
        cells += [figure(row["seconds"][part], "{:.0f}") for part in parts]
        words = " ".join(filter(None, [row["sets"], f"({row['note']})" if row["note"] else ""]))
        style = "bold" if row["recipe"] == best.get("recipe") else ""
        rows.append(([row["recipe"], *cells, words], style))
    for name, figures in look["baselines"].items():
        rows.append(([f"baseline {name}", *(figure(figures[part]) for part in parts)], "dim"))
    headings = ["recipe", *parts.values(), *seconds, "settings"]
    return make_table(f"first look by {heading(look['metric'])}", headings, rows)


def recipe_tests_table(look: Mapping[str, Any]) -> Table:
    """Return paired tests of the best recipe against the others, over test users."""
    rows = []
    for test in look["tests"]:
        low_high = test["interval"]
        interval = "" if low_high is None else f"[{low_high[0]:+.4f}, {low_high[1]:+.4f}]"
        cells = [test["against"], figure(test["difference"], "{:+.4f}"), interval, figure(test["p"])]
        rows.append(([*cells, test["verdict"]], ""))
    metric = heading(look["tests"][0]["metric"])
    title = f"{look['best']['recipe']} against the others by {metric}: paired tests"
    return make_table(title, ["against", "difference", "95 % interval", "p", "verdict"], rows)


def first_look_lines(look: Mapping[str, Any]) -> list[str]:
    """Return lines on the best recipe, with its command."""
    best = look["best"]
    if best is None:
        return ["no recipe completed an epoch; increase sweep.minutes or decrease sweep.share"]
    on = "all users" if best["on"] == "whole" else "the sample alone; no recipe was trained on all users"
    lines = [f"best        {best['recipe']}  {heading(look['metric'])} {best['value']:.4f}  on {on}"]
    if best["behind_baseline"]:
        lines.append("warning: the best baseline is better on the validation split")
    note = "  (reuses its trained towers)" if best["on"] == "whole" and best["ended"] else ""
    return [*lines, f"train       {best['command']}{note}"]


def ended_line(outcome: Outcome, metric: str) -> str:
    """Return one line for a job that ended."""
    value = outcome.served(metric)
    parts = [
        f"{outcome.status:<14}",
        outcome.label,
        "" if value is None else f"{short(metric)} {value:.4f}",
        "" if outcome.skipped else duration_text(outcome.seconds),
        remark(outcome),
        outcome.name if outcome.tries else "",
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


def short(key: str) -> str:
    """Return a key as tables show it: `recall@20` of `recall_at_20`."""
    return key.replace("_at_", "@")


def figure(value: float | None, form: str = "{:.4f}") -> str:
    """Return a figure as text; empty for None."""
    return "" if value is None else form.format(value)
