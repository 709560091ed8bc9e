"""The tables of a run, of an index, of a sweep and of a first look."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain, zip_longest
from math import inf
from typing import Any

from rich.console import Console as Screen
from rich.table import Column, Table
from rich.text import Text

from twotower.evaluation.user_values import metric_k
from twotower.experiments.compare.figure_names import INDEX_COLUMNS, exact_key, format_figure, heading
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.runs.fingerprint import DEFAULT_MONITOR
from twotower.experiments.runs.higher_is_better import higher_is_better
from twotower.experiments.runs.outcome import lower_is_better, rank_outcomes
from twotower.experiments.runs.result import COLD_START, EPOCHS_KEPT, TEST, TEST_EXACT, VALID, Result
from twotower.experiments.runs.result_parts import FeatureImportance, NewItemCurve, Training
from twotower.experiments.runs.run_files import TRAIN_LOG

COLUMNS = ("recall_at_10", "recall_at_20", "ndcg_at_10", "ndcg_at_20", "mrr_at_20")
MAX_ROWS = 8
"""Rows of the model and the best baselines; `train.log` has the others."""
WIDTH_OF_FILES = 240
"""Width of output to a file or a pipe."""
TITLE_STYLE = "bold"
STATUS_STYLES = {"index_rejected": "yellow", "pruned": "cyan", "failed": "bold red"}
TEXTS = {"", "job", "settings", "status", "recipe"}
"""Headings of columns of text; the others are figures, which are aligned to the right and never folded."""


def make_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Iterable[str] = (),
    caption: str | None = None,
) -> Table:
    """Return a table without lines; without headings, all columns are text."""
    columns = [
        Column(each, overflow="fold") if each in TEXTS else Column(each, justify="right", no_wrap=True)
        for each in headings
    ]
    table = Table(*columns, title=title, box=None, pad_edge=False, show_header=bool(headings))
    table.title_justify, table.title_style, table.header_style = "left", TITLE_STYLE, "bold"
    table.caption, table.caption_justify = caption, "left"
    for cells, style in zip_longest(rows, styles, fillvalue=""):
        table.add_row(*cells, style=str(style))
    return table


def table_text(screen: Screen, table: Table) -> Text:
    """Return a table as lines without spaces at their ends."""
    options = screen.options.update(no_wrap=True, overflow="ignore")
    parts = (
        [(part.text, part.style or "") for part in line]
        for line in screen.render_lines(table, options, pad=False)
    )
    lines = [Text.assemble(*each) for each in parts]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def plain_text(tables: Iterable[Table]) -> str:
    """Return tables as lines of a file."""
    screen = Screen(file=StringIO(), width=WIDTH_OF_FILES)
    return "\n".join(table_text(screen, table).plain for table in tables)


def _row(name: str, values: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    return [name, *(format_figure(key, values.get(key)) for key in keys)]


def result_tables(result: Result, has_details: bool = True) -> Iterator[Table]:
    """Yield the tables of a run.

    Metrics next to the baselines, labels, cold start, windows and index; with details also features, new
    items, and all baselines and figures of the index.
    """
    split = "valid" if result.is_test_hidden else "test"
    keys = [key for key in result.metrics if key.startswith(f"{split}/")]
    shown = [f"{split}/{name}" for name in COLUMNS if f"{split}/{name}" in keys] or keys[: len(COLUMNS)]
    if keys:
        title = "validation split (the test split is hidden)" if result.is_test_hidden else "test split"
        yield _quality_table(title, result, shown, has_details, [_kept_epoch(result.training)])
    if labelled := result.evaluated.get("test", {}).get("labelled"):
        title = f"labels: {labelled:,} examples of the test split"
        yield _quality_table(title, result, [key for key in keys if not metric_k(key)], has_details)
    if has_details and result.feature_importance:
        yield importance_table(result.feature_importance)
    if has_details and result.new_items:
        yield new_items_table(result.new_items)
    if result.cold_start:
        yield cold_start_table(result.cold_start)
    if result.windows:
        yield _windows_table(result)
    if result.index:
        yield _index_table(result.index, has_details)


def _quality_table(
    title: str, result: Result, keys: Sequence[str], has_details: bool, notes: Sequence[str] = ()
) -> Table:
    """Return metrics of the model with intervals, also by exact search, and metrics of the baselines.

    Without details, they are the best baselines, and none if the towers are of another run.
    """
    halves = {key: f"± {(high - low) / 2:.4f}" for key, (low, high) in result.intervals.items()}
    rows = [_row("two towers", result.metrics, keys)]
    rows.append(["  95 % interval", *(halves.get(key, "") for key in keys)])
    if TEST_EXACT in result.slices:
        exact = {key: result.metrics.get(exact_key(key)) for key in keys}
        rows.append(_row("  by exact search", exact, keys))
    baselines = {
        name: values for name, values in result.baselines.items() if not values.keys().isdisjoint(keys)
    }
    notes = [note for note in notes if note]
    if has_details:
        notes += [f"tuned on validation: {tuned}"] if (tuned := result.tuned_settings()) else []
    elif result.bundle_rebuilt_from:
        baselines = {}
    elif surplus := max(0, len(rows) + len(baselines) - MAX_ROWS):
        monitored = result.training.monitor.rpartition("/")[2]
        main = next((key for key in keys if key.endswith(f"/{monitored}")), keys[0])
        sign = -1 if higher_is_better(main, [result.higher_is_better]) is False else 1
        worst = sorted(baselines, key=lambda name: sign * baselines[name].get(main, -inf))[:surplus]
        baselines = {name: values for name, values in baselines.items() if name not in worst}
        notes.append(f"{len(worst)} more baselines in {TRAIN_LOG}")
    rows += [_row(name, values, keys) for name, values in baselines.items()]
    return make_table(title, ["", *map(heading, keys)], rows, ("bold", "dim"), "\n".join(notes) or None)


def _kept_epoch(training: Training) -> str:
    """Return which weights of the towers were kept."""
    if training.epochs is None:
        return ""
    kept = f"epoch {training.epochs} kept" if training.epochs else "kept the initial embeddings"
    if training.epochs and (share := training.chosen.get("trainer.initial_share")):
        kept += f", with {share:g} of the initial embeddings"
    return f"two towers: {kept}{', then trained again on train and validation' if training.refit else ''}"


def importance_table(importance: FeatureImportance) -> Table:
    """Return a row per feature with the drop of the metric in each part, the largest drop first."""
    parts, metric = list(importance.values), importance.metric
    rows = [
        ["users", *(f"{importance.num_users[part]:,}" for part in parts)],
        [heading(metric), *(f"{importance.values[part]:.4f}" for part in parts)],
    ]
    without_effect = []
    for name in importance.ranked():
        drops = [importance.drops[name][part] for part in parts]
        if not any(chain(*drops)):
            without_effect.append(name)
            continue
        note = " (new items only)" if name in importance.only_for_new_items else ""
        texts = (f"{mean:+.4f}" if sd is None else f"{mean:+.4f} ± {sd:.4f}" for mean, sd in drops)
        rows.append([f"{name}{note}", *texts])
    title = f"features: drop of {heading(metric)} on validation if permuted, ± sd of {importance.repeats}"
    headings = ["", *(part.replace("_", " ") for part in parts)]
    notes = {"no effect": without_effect, "not measured, because of one value": importance.constant}
    caption = "\n".join(f"{note}: {', '.join(names)}" for note, names in notes.items() if names)
    return make_table(title, headings, rows, ("dim", "bold"), caption or None)


def new_items_table(curve: NewItemCurve) -> Table:
    """Return recall on new and known items by the boost of new items; the boost of the towers is marked."""
    parts, boosts = ("new", "known", "all"), [each["boost"] for each in curve.curve]
    marked = (f"{boost:g}{' *' if boost == curve.boost else ''}" for boost in boosts)
    rows = [
        [name, *(f"{recalls[part]:.4f}" if part in recalls else "-" for part in parts)]
        for name, recalls in zip(["no new items", *marked], [curve.without, *curve.curve], strict=True)
    ]
    title = f"new_items.boost: {heading(curve.metric)} on validation, {curve.num_items:,} new items"
    return make_table(
        title, ["boost", *(f"{part} items" for part in parts)], rows, caption="* boost of this run"
    )


def cold_start_table(recalls: Mapping[str, Any]) -> Table:
    """Return recall on cold and warm items of the test split, a row per part and model."""
    parts = list(recalls["num_users"])
    keys = list(recalls["random"][parts[0]])
    keys = [key for key in COLUMNS if key in keys] or keys[:2]
    rows = [
        _row(f"{part.replace('_', ' ')}: {name}", recalls[model][part], keys)
        for part in parts
        for model, name in COLD_START.items()
        if model in recalls
    ]
    title = f"cold start: {recalls['num_cold_items']:,} new items, added live"
    return make_table(title, ["", *map(heading, keys)], rows)


def _windows_table(result: Result) -> Table:
    """Return a row per window with its metrics and its best baseline, then mean, spread and Kendall's tau."""
    kind = (result.training.monitor or DEFAULT_MONITOR).removeprefix(VALID)
    keys = [f"{VALID}{kind}", f"{TEST}/{kind}"]
    choose = min if higher_is_better(keys[0], [result.higher_is_better]) is False else max
    rows = []
    for entry in result.windows:
        validated = {name: each[keys[0]] for name, each in entry["baselines"].items() if keys[0] in each}
        best = choose(validated, key=validated.__getitem__, default="")
        models = entry["metrics"], entry["baselines"].get(best, {})
        figures = [format_figure(key, values.get(key)) for values in models for key in keys]
        days = [str(entry[key] or "")[:10] for key in ("valid_from", "test_from")]
        rows.append([str(entry["window"]), *days, *figures, entry["error"] or best])
    metrics = result.windows_summary.get("metrics", {})
    for part in ("mean", "sd") if metrics else ():
        name, *figures = _row(part, {key: metrics[key][part] for key in keys if key in metrics}, keys)
        rows.append([name, "", "", *figures])
    if taus := result.windows_summary.get("kendall_tau"):
        agreements = ["" if taus[split] is None else f"{taus[split]:.2f}" for split in ("valid", "test")]
        rows.append(["Kendall's tau", "", "", *agreements])
    headings = ["window", "valid from", "test from", "valid", "test", "of baseline", "test", ""]
    return make_table(f"windows by {heading(kind)}", headings, rows)


def _index_table(index: Mapping[str, Any], has_details: bool) -> Table:
    """Return kind, recall and cost of the index; with details also its latency and metrics in full."""
    checks = "ok" if index["ok"] else "REJECTED: " + "; ".join(index["problems"])
    recall = f"recall@{index['recall_k']}"
    if not has_details:
        differences = "" if index["recall_at_100"] == 1 else _differences(index)
        loss = f" ({differences} against exact search)" if differences else ""
        verdict = f"checks {checks}" if index["ok"] else checks
        rows = {
            "kind": f"{index['type']}, {recall} {index['recall_at_100']:.4f}{loss}, {verdict}",
            "cost": f"{index['latency_ms_p50']:.3f} ms a query, {index['bytes_per_item']:.0f} bytes an item",
        }
        return make_table("index", (), rows.items())
    search = ", ".join(f"{key} {value}" for key, value in index["search_args"].items()) or "every item"
    rows = {
        "kind": f"{index['type']} ({index['factory']}), searching {search}",
        recall: f"{index['recall_at_100']:.4f} against exact search",
        "metrics": f"{_differences(index) or 'not measured'} against exact search",
        "latency": f"p50 {index['latency_ms_p50']:.3f} ms, p99 {index['latency_ms_p99']:.3f} ms a query",
        "throughput": f"{index['queries_per_second']:,.0f} queries/s in a batch",
        "size": f"{index['index_bytes']:,} bytes, {index['bytes_per_item']:.0f} an item",
        "checks": checks,
    }
    if choice := index.get("choice"):  # of `index=auto`
        best = choice["candidates"][0]
        loss = best["label_difference"]
        rows["predicted"] = (
            f"recall {best['recall']:.4f}, {best['latency_ms']:.3f} ms, {best['bytes_per_item']:.0f} bytes, "
            + ("" if loss is None else f"recall@20 {loss:+.4f}, ")
            + f"from {choice['num_sampled']:,} items; best of {len(choice['candidates'])} candidates"
        )
    for each in index.get("shorter", ()):
        rows[f"dim {each['dim']}"] = f"{_differences(each)}, {each['index_bytes']:,} bytes"
    return make_table("index", (), rows.items())


def _differences(index: Mapping[str, Any]) -> str:
    """Return validation metrics through the index minus exact search, with intervals."""
    differences, parts = index["label_difference"], []
    for key in [key for key in ("recall_at_20", "ndcg_at_20") if key in differences] or [*differences][:2]:
        low, high = index["label_difference_interval"].get(key, (0.0, 0.0))
        between = f" [{low:+.4f}, {high:+.4f}]" if low < high else ""
        parts.append(f"{heading(key)} {differences[key]:+.4f}{between}")
    return ", ".join(parts)


def sweep_table(summary: SweepSummary) -> Table:
    """Return the jobs that did not fail, from best to worst by the metric through the index."""
    metric, best = summary.metric, summary.best
    jobs = rank_outcomes((each for each in summary.outcomes if each.status != "failed"), metric)
    test = metric.replace("valid/", "test/")
    columns: dict[str, list[str]] = {"job": [each.name for each in jobs]}
    if any(settings := [summary.settings(each.name) for each in jobs]):
        columns["settings"] = settings
    columns["status"] = [each.status for each in jobs]
    columns[heading(metric)] = [format_figure(metric, each.served(metric)) for each in jobs]
    shown = [] if summary.is_test_hidden else [test]
    shown += [EPOCHS_KEPT] if any(each.figure(EPOCHS_KEPT) is not None for each in jobs) else []
    shown += [key for key in INDEX_COLUMNS if len({each.figure(key) for each in jobs}) > 1]
    for key in shown:
        name = "test" if key == test else heading(key)
        columns[name] = [format_figure(key, each.figure(key)) for each in jobs]
    columns["seconds"] = ["before" if each.skipped else f"{each.seconds:.1f}" for each in jobs]
    order = ", lowest first" if lower_is_better(jobs, metric) else ""
    title = f"{len(jobs)} jobs by {heading(metric)}{order}"
    styles = [
        "bold" if best and best.job == each.name else STATUS_STYLES.get(each.status, "") for each in jobs
    ]
    return make_table(title, list(columns), zip(*columns.values(), strict=True), styles)


def recipes_table(look: Mapping[str, Any]) -> Table:
    """Return a row per recipe of a first look, the best first, then the best baselines, by validation."""
    metric, best = look["metric"], look["best"] or {"recipe": None}
    parts = look["stages"]
    rows = []
    for row in look["recipes"]:
        seconds = (row["seconds"][part] for part in parts)
        note = f" ({row['note']})" if row["note"] else ""
        cells = ["" if each is None else f"{each:.0f}" for each in seconds]
        rows.append([row["recipe"], *(format_figure(metric, row[part]) for part in parts), *cells])
        rows[-1].append(f"{row['sets']}{note}")
    styles = ["bold" if row["recipe"] == best["recipe"] else "" for row in look["recipes"]]
    for name, figures in look["baselines"].items():
        rows.append([f"baseline {name}", *(format_figure(metric, figures[part]) for part in parts)])
    headings = ["recipe", *parts.values(), *(f"seconds, {words}" for words in parts.values()), "settings"]
    return make_table(f"first look by {heading(metric)}", headings, rows, styles)
