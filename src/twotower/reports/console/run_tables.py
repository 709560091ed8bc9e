"""The tables of a run and of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from twotower.config.progress import in_words
from twotower.evaluation.user_values import k_of
from twotower.reports.console.console import NOTHING, Findings, differ_in_seed_only, form_of
from twotower.runs.outcome import Outcome, lowest_is_best
from twotower.runs.result import COLD_START, TARGET_REPEAT, TEST_EXACT, Result

COLUMNS = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "mrr_at_20", "coverage_at_20")
MOST_COLUMNS = 5
INDEX_COLUMNS = {
    "index/recall_at_100": "index recall",
    "index/latency_ms_p50": "p50 ms",
    "index/bytes_per_item": "bytes/item",
}
Line = tuple[str, list[str], str]
"""A job, its cells and its style."""
STATUS_STYLES = {"ok": "green", "index_rejected": "yellow", "pruned": "cyan", "failed": "bold red"}


def audit_table(rows: Sequence[tuple[str, str]]) -> Table:
    """Return the audit of the split."""
    table = plain_table("split audit", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    return table


def quality_table(result: Result) -> Table:
    """Return test metrics of the model (served lists, then exact search) and of the baselines."""
    metrics, intervals = result.metrics, result.intervals
    tested = [key.removeprefix("test/") for key in metrics if key.startswith("test/")]
    keys = ([key for key in COLUMNS if key in tested] or tested)[:MOST_COLUMNS]
    table = plain_table("test split")
    table.add_column("", no_wrap=True)
    for key in keys:
        table.add_column(short(key), justify="right", no_wrap=True)
    table.add_row("two towers", *(f"{metrics[f'test/{key}']:.4f}" for key in keys), style="bold")
    half = [_half_width(intervals.get(f"test/{key}")) for key in keys]
    table.add_row("  95 % interval", *half, style="dim")
    if TEST_EXACT in result.slices:
        exact = [figure(metrics.get(f"{TEST_EXACT}/{key}")) for key in keys]
        table.add_row("  by exact search", *exact, style="dim")
    for name, values in result.baselines.items():
        table.add_row(name, *(figure(values.get(f"test/{key}")) for key in keys))
    return table


def label_table(result: Result) -> Table:
    """Return label metrics on the test split."""
    table = plain_table(f"labels: {result.evaluated['test']['labelled']:,} examples of the test split")
    table.add_column("", no_wrap=True)
    keys = [key for key in result.metrics if key.startswith("test/") and not k_of(key)]
    for key in keys:
        table.add_column(key.removeprefix("test/"), justify="right", no_wrap=True)
    table.add_row("two towers", *(f"{result.metrics[key]:.4f}" for key in keys), style="bold")
    half = [_half_width(result.intervals.get(key)) for key in keys]
    table.add_row("  95 % interval", *half, style="dim")
    return table


def repeats_table(result: Result) -> Table:
    """Return recall of new and of repeated targets, of the model and the baselines."""
    slices = {"two towers": result.slices["test"][TARGET_REPEAT], **result.baseline_slices}
    parts = slices["two towers"]
    keys = [key for key in COLUMNS if any(key in values for values in parts.values())][:2]
    sizes = " and ".join(f"{values['num_targets']:,} {part}" for part, values in parts.items())
    table = plain_table(f"test split: {sizes} targets")
    table.add_column("", no_wrap=True)
    for part in parts:
        for key in keys:
            table.add_column(f"{part} {short(key)}", justify="right", no_wrap=True)
    for who, found in slices.items():
        figures = [figure(found.get(part, {}).get(key)) for part in parts for key in keys]
        table.add_row(who, *figures, style="bold" if who == "two towers" else "")
    return table


def cold_start_table(found: Mapping[str, Any]) -> Table:
    """Return recall on cold and warm items of the test split, a row per part, a column per model."""
    parts = list(found["num_users"])
    keys = list(found["random"][parts[0]])
    keys = [key for key in COLUMNS if key in keys] or keys[:2]
    table = plain_table(f"cold start: {found['num_cold_items']:,} items that training never saw, added live")
    table.add_column("", no_wrap=True)
    asked = {who: words for who, words in COLD_START.items() if who in found}
    for who, words in asked.items():
        for key in keys:
            heading = "\n".join([*words.split(), short(key)])
            style = "bold" if who == "model" else ""
            table.add_column(heading, justify="right", no_wrap=True, style=style)
    for part in parts:
        figures = [figure(found[who][part].get(key)) for who in asked for key in keys]
        table.add_row(part.replace("_", " "), *figures)
    return table


def sweep_table(outcomes: Sequence[Outcome], metric: str, findings: Findings = NOTHING) -> Table:
    """Return the jobs that did not fail, from best to worst; without the Pareto set of several objectives."""
    shown = [each for each in findings.ranked(outcomes, metric) if each.status != "failed"]
    if not findings.goes_by(shown, metric):
        return _by_objectives(shown, findings)
    winner = findings.winner(shown, metric)
    index = [key for key in INDEX_COLUMNS if len({each.figure(key) for each in shown}) > 1]
    order = ", lowest first" if lowest_is_best(shown, metric) else ""
    through = (
        " through the index" if any(each.served(metric) != each.figure(metric) for each in shown) else ""
    )
    title = f"{len(shown)} jobs by {short(metric)}{through}{order}" if len(shown) != 1 else "1 job"
    lines = []
    for outcome in shown:
        figures = [figure(outcome.served(key)) for key in (metric, metric.replace("valid/", "test/"))]
        figures += [figure(outcome.figure(key), form_of(key)) for key in index]
        seconds = "before" if outcome.skipped else f"{outcome.seconds:.1f}"
        style = "bold" if winner and winner.job == outcome.name else _style(outcome)
        lines.append((outcome.name, [outcome.status, *figures, seconds], style))
    valid = f"valid {short(metric.removeprefix('valid/'))}"
    headings = ["status", valid, "test", *(INDEX_COLUMNS[key] for key in index), "seconds"]
    return jobs_table(
        f"{len(shown)} seeds" if differ_in_seed_only(shown) else title, headings, lines, findings
    )


def _by_objectives(shown: Sequence[Outcome], findings: Findings) -> Table:
    best = {row["job"] for row in findings.best} if len(findings.objectives) > 1 else set()
    left = [outcome for outcome in shown if outcome.name not in best]
    lines = [(each.name, [each.status, *_reached(each.name, findings)], _style(each)) for each in left]
    title = f"{len(left)} {'other job' if best else 'job'}{'' if len(left) == 1 else 's'}"
    return jobs_table(title, ["status", *_headings(findings)], lines, findings)


def pareto_table(findings: Findings) -> Table:
    """Return the Pareto set of a search with several objectives."""
    jobs = [row["job"] for row in findings.best]
    lines = [(job, _reached(job, findings), "") for job in jobs]
    num_trials = len(findings.search["trials"])
    title = f"Pareto set: {len(jobs)} of {num_trials} trials"
    return jobs_table(title, _headings(findings), lines, findings)


def jobs_table(
    title: str, headings: Sequence[str], lines: Sequence[Line], findings: Findings = NOTHING
) -> Table:
    """Return a row per job, with its settings if a search varies them."""
    table = plain_table(title)
    settings = {job: findings.settings(job) for job, _, _ in lines}
    shown = any(settings.values())
    for heading in ("job", "settings") if shown else ("job",):
        table.add_column(heading, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "status" else "right")
    for job, cells, style in lines:
        table.add_row(job, *([settings[job]] if shown else ()), *cells, style=style)
    return table


def plain_table(title: str | None = None, show_header: bool = True) -> Table:
    """Return an empty table without lines."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=show_header,
        header_style="bold",
    )


def _headings(findings: Findings) -> list[str]:
    arrows = {"maximize": "↑", "minimize": "↓"}
    return [f"{short(key).replace('/', ' ', 1)} {arrows[way]}" for key, way in findings.objectives.items()]


def _reached(job: str, findings: Findings) -> list[str]:
    values = findings.values(job)
    return [figure(values.get(key), form_of(key)) for key in findings.objectives]


def _style(outcome: Outcome) -> str:
    return "" if outcome.status == "ok" else STATUS_STYLES.get(outcome.status, "")


def ended_line(outcome: Outcome, metric: str) -> str:
    """Return one line for a job that ended."""
    value = outcome.served(metric)
    parts = [
        f"{outcome.status:<14}",
        outcome.label,
        "" if value is None else f"{short(metric)} {value:.4f}",
        "" if outcome.skipped else in_words(outcome.seconds),
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


def _half_width(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"± {(interval[1] - interval[0]) / 2:.4f}"
