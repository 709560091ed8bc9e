"""From run folders to a report: read, line up, choose the baseline, judge."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from twotower.reports.compare.baseline import best_by_validation, named_baseline
from twotower.reports.compare.comparable import largest_group
from twotower.reports.compare.comparison import BETTER, NOT_COMPARABLE, NOT_TESTED, WORSE, Comparison
from twotower.reports.compare.differences import differing_keys
from twotower.reports.compare.entries import (
    Entry,
    baseline_entries,
    configuration_entries,
    direction_of,
    run_entries,
)
from twotower.reports.compare.judge import Judge, Judgement
from twotower.reports.compare.metric import (
    COLD_START,
    DEFAULT,
    OF_COLD_START,
    OF_THE_INDEX,
    column_of,
    default_metric,
    known_key,
)
from twotower.reports.compare.record import DAMAGED, UNENDED, RunRecord, display_names, read_run
from twotower.reports.compare.report import Options, Report, Row
from twotower.reports.compare.seeds import Spread, luck, spreads

ONE_SEED = (
    "every configuration has one seed here, so better and worse are of these very runs; another seed may turn"
    " a small difference (scripts/train.py seeds=5 shows how far)"
)
NO_DIRECTION = (
    "has no better direction, as far as these runs say (higher_is_better of result.json, from the metric's"
    " class): rows stand from the highest on, and none is called better"
)
Data = tuple[str, str]
SpreadsOfData = dict[Data, dict[str, Spread]]


def compare(folders: Sequence[Path], options: Options, notes: Sequence[str] = ()) -> Report:
    """Read runs and compare them.

    Args:
        folders: of the runs.
        options: what is asked.
        notes: what finding them left to say.

    Raises:
        InputError: an unknown metric, column or baseline.
    """
    records = [read_run(folder) for folder in folders]
    metric = known_key(options.metric, "--metric", records) if options.metric else default_metric(records)
    keys = [key for key in differing_keys(records) if key != "seed" or not options.by_configuration]
    columns = _columns(options, records, keys, metric)
    entries, more = _entries(records, options.by_configuration)
    baseline, chosen, built_in = _baseline(options, metric, entries, records)
    shown = [*entries, *built_in] if options.with_baselines else list(entries)
    if baseline is not None and all(entry is not baseline for entry in shown):
        shown.append(baseline)
    of_data = _spreads(records, metric)
    judge = Judge(metric, options.tests, {data: luck(found.values()) for data, found in of_data.items()})
    rows, pairs, judgement = _judged(judge, _sorted(shown, metric), baseline, options.pairs)
    rows = [_with_spread(row, of_data) for row in rows]
    here = of_data.get(baseline.run.data, {}) if baseline is not None else {}
    told = [*notes, *more, *_notes(options, metric, rows, here)]
    return Report(
        metric, columns, keys, rows, pairs, baseline, chosen, judgement, luck(here.values()), records, told
    )


def _entries(records: Sequence[RunRecord], by_configuration: bool) -> tuple[list[Entry], list[str]]:
    names = display_names(records)
    if by_configuration:
        return configuration_entries(records, names)
    return run_entries(records, names), []


def _spreads(records: Sequence[RunRecord], metric: str) -> SpreadsOfData:
    """Return for each data the spread over seeds of each configuration judged on it."""
    return {
        data: spreads([run for run in records if run.data == data], metric)
        for data in {run.data for run in records if run.ended}
    }


def _columns(options: Options, records: Sequence[RunRecord], keys: Sequence[str], metric: str) -> list[str]:
    if options.columns is not None:
        return [known_key(column, "--columns", records) for column in options.columns if column.strip()]
    of_index = any(key.split(".")[0] == "index" for key in keys) or metric.startswith("index/")
    k = (metric if "_at_" in metric else DEFAULT).rpartition("_at_")[2]
    wanted = [*(OF_THE_INDEX if of_index else ("test/ndcg_at_20",))]
    wanted += [f"{COLD_START}{name}/recall_at_{k}" for name in OF_COLD_START]
    return [key for key in wanted if key != metric and any(key in record.figures for record in records)]


def _baseline(
    options: Options, metric: str, entries: Sequence[Entry], records: Sequence[RunRecord]
) -> tuple[Entry | None, str, list[Entry]]:
    """Return the baseline, how it was chosen, and the built-in baselines of its data."""
    group = largest_group(records)
    built_in = baseline_entries(group)
    if not options.baseline:
        in_group = {id(record) for record in group}
        candidates = [entry for entry in entries if id(entry.run) in in_group and metric in entry.figures]
        return *best_by_validation(candidates, metric), built_in
    named = named_baseline(options.baseline, entries, built_in)
    if named.kind != "baseline":
        built_in = baseline_entries([record for record in records if record.data == named.run.data])
    return named, "named", built_in


def _sorted(entries: Sequence[Entry], metric: str) -> list[Entry]:
    sign = 1 if direction_of(metric, entries) is False else -1

    def place(entry: Entry) -> tuple[bool, bool, float, str]:
        value = entry.figures.get(metric)
        return not entry.figures, value is None, sign * (value or 0.0), entry.name

    return sorted(entries, key=place)


def _judged(
    judge: Judge, entries: Sequence[Entry], baseline: Entry | None, all_pairs: bool
) -> tuple[list[Row], list[Comparison], Judgement]:
    """Compare each row with the baseline, and all pairs if asked, as one family of tests."""
    with_figures = [entry for entry in entries if entry.figures]
    set_against = [
        (entry, baseline) for entry in with_figures if baseline is not None and entry is not baseline
    ]
    asked = [*set_against, *(combinations(with_figures, 2) if all_pairs else ())]
    judgement = judge.judge(asked)
    against = {id(found.left): found for found in judgement.comparisons[: len(set_against)]}
    rows = [_row(entry, judge.metric, baseline, against.get(id(entry))) for entry in entries]
    apart = [row for row in rows if row.verdict == NOT_COMPARABLE]
    without = [row for row in rows if not row.entry.figures]
    first = [row for row in rows if row.entry.figures and row.verdict != NOT_COMPARABLE]
    return [*first, *apart, *without], judgement.comparisons[len(set_against) :], judgement


def _row(entry: Entry, metric: str, baseline: Entry | None, found: Comparison | None) -> Row:
    problem = "" if entry.kind == "baseline" else entry.run.problem
    value = entry.figures.get(metric)
    if entry is baseline:
        return Row(entry, value, "the baseline", problem)
    if found is None:
        damaged = problem and entry.run.state == DAMAGED
        return Row(entry, value, DAMAGED, problem) if damaged else Row(entry, value, problem)
    reasons = "; ".join(text for text in (found.reason, problem) if text)
    return Row(entry, value, found.verdict, reasons, found)


def _with_spread(row: Row, of_data: dict[tuple[str, str], dict[str, Spread]]) -> Row:
    if row.entry.kind == "baseline" or not row.entry.figures:
        return row
    return replace(row, spread=of_data[row.entry.run.data].get(row.entry.run.configuration))


def _notes(options: Options, metric: str, rows: Sequence[Row], found: dict[str, Spread]) -> list[str]:
    notes = []
    if options.tests and column_of(metric) is None:
        notes.append(f"{metric} is no mean over users of the test split, so differences in it are not tested")
    if direction_of(metric, [row.entry for row in rows]) is None:
        notes.append(f"{metric} {NO_DIRECTION}")
    if found and not options.by_configuration:
        several = "1 configuration has" if len(found) == 1 else f"{len(found)} configurations have"
        notes.append(f"{several} several seeds; --by configuration tests with all of them, seeds as luck too")
    elif not found and any(row.verdict in (BETTER, WORSE) for row in rows):
        notes.append(ONE_SEED)
    return [*notes, *_notes_on_rows(rows)]


def _notes_on_rows(rows: Sequence[Row]) -> list[str]:
    """Return what is wrong with rows; many rows with the same trouble are one note."""
    troubles: dict[str, list[str]] = {}
    for row in rows:
        trouble = ""
        if row.entry.run.state in (DAMAGED, UNENDED):
            trouble = f"{row.reason or row.verdict}; shown without figures"
        elif row.verdict == NOT_COMPARABLE:
            trouble = f"not comparable with the baseline: {row.reason}"
        elif row.verdict == NOT_TESTED:
            trouble = f"not tested against the baseline: {row.reason}"
        if trouble:
            name = row.entry.name if row.entry.kind == "baseline" else str(row.entry.run.folder)
            troubles.setdefault(trouble, []).append(name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {trouble}"
        for trouble, names in troubles.items()
    ]
