"""From run folders to a comparison: read, line up, choose the baseline, judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from twotower.reports.compare.ancestry import ancestry_notes
from twotower.reports.compare.comparison import Comparison, Options, Row, differing_keys, notes_of
from twotower.reports.compare.entries import (
    COLD_START,
    DEFAULT,
    OF_COLD_START,
    OF_THE_INDEX,
    Entry,
    baseline_entries,
    best_by_validation,
    configuration_entries,
    default_metric,
    direction_of,
    exact_key,
    known_key,
    named_baseline,
    validation_key,
)
from twotower.reports.compare.judge import NOT_COMPARABLE, Data, Difference, Judge, Judgement
from twotower.reports.compare.paired import Spread, luck, spreads
from twotower.reports.compare.record import (
    DAMAGED,
    RunRecord,
    display_names,
    largest_group,
    read_run,
    with_defaults,
)
from twotower.reports.compare.searches import searches_of


def compare(folders: Sequence[Path], options: Options, notes: Sequence[str] = ()) -> Comparison:
    """Read runs and compare them. Raises InputError: an unknown metric, column or baseline."""
    records = with_defaults([read_run(folder) for folder in folders])
    metric = known_key(options.metric, "metric", records) if options.metric else default_metric(records)
    by_configuration = options.by == "configuration"
    keys = [key for key in differing_keys(records) if key != "seed" or not by_configuration]
    names = display_names(records)
    more: list[str] = []
    if by_configuration:
        entries, more = configuration_entries(records, names)
    else:
        entries = [Entry(names[each.folder], "run", (each,), each.figures) for each in records]
    baseline, chosen, built_in = _baseline(options.baseline, metric, entries, records)
    shown = [*entries, *built_in] if options.with_baselines else list(entries)
    if baseline is not None and all(entry is not baseline for entry in shown):
        shown.append(baseline)
    by_data = {
        data: [run for run in records if run.data == data]
        for data in {run.data for run in records if run.ended}
    }
    of_data = {data: spreads(runs, metric) for data, runs in by_data.items()}
    # Of the towers alone, so that one training under several indexes counts once.
    lucks = {data: luck(spreads(runs, exact_key(metric)).values()) for data, runs in by_data.items()}
    judge = Judge(metric, options.tests, lucks)
    rows, pairs, judgement = _judged(judge, _sorted(shown, metric), baseline, options.pairs)
    here = of_data.get(baseline.run.data, {}) if baseline is not None else {}
    return Comparison(
        metric,
        _columns(options.columns, records, keys, metric),
        keys,
        [_with_spread(row, of_data) for row in rows],
        pairs,
        baseline,
        chosen,
        judgement,
        lucks.get(baseline.run.data) if baseline is not None else None,
        records,
        [*notes, *more, *notes_of(options, metric, rows, len(here)), *ancestry_notes(records, names)],
        searches_of(records),
    )


def _columns(
    asked: Sequence[str] | None, records: Sequence[RunRecord], keys: Sequence[str], metric: str
) -> list[str]:
    if asked is not None:
        return [known_key(column, "columns", records) for column in asked if column.strip()]
    of_index = any(key.split(".")[0] == "index" for key in keys) or metric.startswith("index/")
    k = (metric if "_at_" in metric else DEFAULT).rpartition("_at_")[2]
    of_towers = (exact_key(metric), *OF_THE_INDEX) if of_index else ("test/ndcg_at_20",)
    wanted = [validation_key(metric), *of_towers]
    wanted += [f"{COLD_START}{name}/recall_at_{k}" for name in OF_COLD_START]
    return [key for key in wanted if key != metric and any(key in record.figures for record in records)]


def _baseline(
    named: str | None, metric: str, entries: Sequence[Entry], records: Sequence[RunRecord]
) -> tuple[Entry | None, str, list[Entry]]:
    """Return the baseline, how it was chosen, and the built-in baselines of its data."""
    group = largest_group(records)
    built_in = baseline_entries(group)
    if not named:
        here = set(map(id, group))
        able = [entry for entry in entries if metric in entry.figures and id(entry.run) in here]
        return *best_by_validation(able, metric), built_in
    found = named_baseline(named, entries, built_in)
    if found.trained:
        built_in = baseline_entries(record for record in records if record.data == found.run.data)
    return found, "named", built_in


def _sorted(entries: Sequence[Entry], metric: str) -> list[Entry]:
    """Return the rows with the best by validation first, as the baseline is chosen."""
    sign = 1 if direction_of(metric, entries) is False else -1
    keys = (validation_key(metric), metric)

    def place(entry: Entry) -> tuple[bool, list[tuple[bool, float]], str]:
        values = [entry.figures.get(key) for key in keys]
        return not entry.figures, [(value is None, sign * (value or 0.0)) for value in values], entry.name

    return sorted(entries, key=place)


def _judged(
    judge: Judge, entries: Sequence[Entry], baseline: Entry | None, all_pairs: bool
) -> tuple[list[Row], list[Difference], Judgement]:
    able = [entry for entry in entries if entry.figures]
    against = [(entry, baseline) for entry in able if baseline is not None and entry is not baseline]
    judgement = judge.judge([*against, *(combinations(able, 2) if all_pairs else ())])
    found = {id(each.left): each for each in judgement.differences[: len(against)]}
    rows = [_row(entry, judge.metric, baseline, found.get(id(entry))) for entry in entries]
    rows.sort(key=lambda row: (not row.entry.figures, row.verdict == NOT_COMPARABLE))
    return rows, judgement.differences[len(against) :], judgement


def _row(entry: Entry, metric: str, baseline: Entry | None, found: Difference | None) -> Row:
    problem = entry.run.problem if entry.trained else ""
    value = entry.figures.get(metric)
    if entry is baseline:
        return Row(entry, value, "the baseline", problem)
    if found is None:
        damaged = problem and entry.run.state == DAMAGED
        return Row(entry, value, DAMAGED, problem) if damaged else Row(entry, value, problem)
    reasons = "; ".join(text for text in (found.reason, problem) if text)
    return Row(entry, value, found.verdict, reasons, found)


def _with_spread(row: Row, of_data: Mapping[Data, Mapping[str, Spread]]) -> Row:
    if not row.entry.trained or not row.entry.figures:
        return row
    return replace(row, spread=of_data[row.entry.run.data].get(row.entry.run.configuration))
