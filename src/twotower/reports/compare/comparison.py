"""The comparison of runs: one table with a row per run, verdicts against a baseline, and notes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.reports.compare.figure_names import (
    COLD_START,
    COLD_START_PARTS,
    DEFAULT,
    INDEX_COLUMNS,
    default_metric,
    exact_key,
    find_figure,
    heading,
    validation_key,
)
from twotower.reports.compare.notes import BASELINE, problem_notes, verdict_notes
from twotower.reports.compare.run_frame import (
    GROUP,
    MEASURED,
    SETTING,
    UNREADABLE,
    baseline_rows,
    configuration_rows,
    data_difference,
    figures_in,
    largest_group,
    make_frame,
    read_runs,
    records,
    seed_noise,
    seed_spread,
)
from twotower.reports.compare.verdicts import DIFFERENCE_COLUMNS, NOT_COMPARABLE, compare_pairs
from twotower.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import Result

IGNORED = IRRELEVANT_KEYS | {"sweep", "launcher", "resume", "rerun"}
"""Root keys that say how a run was started or printed."""

EVALUATION_KEYS = {"metrics", "baselines"}
"""Root keys that change what is measured of a model, not the model."""

MOST_IN_CONSOLE = 6


@dataclass(frozen=True)
class Comparison:
    """Runs and what distinguishes them, as every form of output shows them.

    Attributes:
        rows: the table in its order: the best by validation first, then rows that are not comparable, then
            rows without figures. Columns as in `run_frame.read_runs`, then `seed_mean`, `seed_sd`,
            `num_seeds` and `DIFFERENCE_COLUMNS`, the difference being row - baseline.
        runs: one row per run, whatever the rows of the table stand for.
        results: by folder.
        higher: whether higher values of the metric are better; None if it has no preferred direction.
        columns: more figures to show.
        keys: settings that differ, the most important first; `main_keys` are those to show first.
        baseline: position of its row, or None.
        noise: standard deviation over seeds on the baseline's data and the number of seeds; or None.
    """

    rows: pd.DataFrame
    runs: pd.DataFrame
    results: Mapping[str, Result]
    metric: str
    higher: bool | None
    columns: list[str]
    keys: list[str]
    main_keys: list[str]
    baseline: int | None
    baseline_reason: str
    num_tests: int
    num_users: int
    noise: tuple[float, int] | None
    notes: list[str]

    def table(self, figures: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows with the settings that differ, figures (None for all) and verdicts."""
        chosen = figures_in(self.rows) if figures is None else list(figures)
        chosen = [self.metric, *(key for key in chosen if key != self.metric)]
        identity = ["name", "kind", "folder", "state", "seeds", "note"]
        settings = [f"{SETTING}{key}" for key in self.keys]
        columns = [*identity, *settings, *(key for key in chosen if key in self.rows)]
        return self.rows[[*columns, "seed_mean", "seed_sd", "num_seeds", *DIFFERENCE_COLUMNS]]

    def plotted_rows(self) -> pd.DataFrame:
        """Return the rows of runs that can be plotted together with the baseline."""
        is_measured = self.rows["state"].isin(MEASURED) & (self.rows["kind"] != "baseline")
        return self.rows[is_measured & (self.rows["verdict"] != NOT_COMPARABLE)]


class Options(BaseModel):
    """What to compare, and how.

    Attributes:
        metric: figure to compare by; None for recall@20 on the test split.
        columns: more figures to show; None for validation, index and cold start.
        baseline: run or built-in baseline; None for the best run by validation.
        with_baselines: whether to add the built-in baselines as rows.
        by: a row per run, or per configuration with the mean over its seeds.
        tests: whether to test differences.
    """

    metric: str | None = None
    columns: list[str] | None = None
    baseline: str | None = None
    with_baselines: bool = False
    by: Literal["run", "configuration"] = "run"
    tests: bool = True


def compare(folders: Sequence[Path], options: Options | None = None, notes: Sequence[str] = ()) -> Comparison:
    """Read runs and compare them; `notes` are shown with those of the comparison.

    Raises:
        InputError: an unknown metric, column or baseline.
    """
    options = options or Options()
    runs, results = read_runs(folders)
    figures = figures_in(runs)
    metric = find_figure(options.metric, "metric", figures) if options.metric else default_metric(figures)
    higher = higher_is_better(metric, (result.higher_is_better for result in results.values()))
    typed = Counter(override_key(text) for result in results.values() for text in result.overrides)
    keys = [key for key in _differing_keys(runs, typed) if key != "seed" or options.by == "run"]
    rows, row_notes = configuration_rows(runs) if options.by == "configuration" else (runs, [])

    position, reason, built_in = _choose_baseline(options.baseline, metric, higher, rows, runs, results)
    candidates = [*records(rows), *records(built_in)]
    shown = [*range(len(candidates) if options.with_baselines else len(rows))]
    if position is not None and position not in shown:
        shown.append(position)
    order = _sort_order(candidates, shown, position, metric, higher)
    rows = make_frame([candidates[at] for at in order])
    baseline = None if position is None else order.index(position)

    spread = seed_spread(runs, metric)
    # Of the towers alone, so that one training under several indexes counts once.
    noise = seed_noise(seed_spread(runs, exact_key(metric)))
    against = [at for at in rows.index[rows["state"].isin(MEASURED)] if at != baseline]
    pairs = [] if baseline is None else [(at, baseline) for at in against]
    differences = compare_pairs(rows, pairs, metric, higher, noise, options.tests)
    rows = _with_spread(_with_differences(rows, differences.table, baseline), spread)
    data = None if baseline is None else rows["data"][baseline]
    num_repeated = sum(key[0] == data for key in spread.index)
    return Comparison(
        rows=rows,
        runs=runs,
        results=results,
        metric=metric,
        higher=higher,
        columns=_shown_figures(options.columns, figures, keys, metric),
        keys=keys,
        main_keys=_main_keys(runs, keys, typed),
        baseline=baseline,
        baseline_reason=reason,
        num_tests=differences.num_tests,
        num_users=differences.num_users,
        noise=None if data is None else noise.get(data),
        notes=[
            *notes,
            *row_notes,
            *verdict_notes(metric, higher, num_repeated, rows, options.tests, options.by == "configuration"),
            *problem_notes(rows),
        ],
    )


def _differing_keys(runs: pd.DataFrame, typed: Mapping[str, int]) -> list[str]:
    """Return the settings whose values differ between runs, the most important first.

    The order: what users typed most often, choices of a group, the rest by number of values, settings of the
    evaluation, and the seed.
    """
    settings = _readable_settings(runs)
    num_values = {key: len(set(values)) for key, values in settings.items()}
    groups = {key.rpartition(".")[0] for key in settings}

    def sort_key(key: str) -> tuple[bool, bool, int, bool, int, int]:
        is_evaluation = key.split(".")[0] in EVALUATION_KEYS
        return (
            key == "seed",
            is_evaluation,
            -typed[key],
            key not in groups,
            key.count("."),
            -num_values[key],
        )

    different = [key for key in settings if key.split(".")[0] not in IGNORED and num_values[key] > 1]
    return sorted(different, key=sort_key)


def _main_keys(runs: pd.DataFrame, keys: Sequence[str], typed: Mapping[str, int]) -> list[str]:
    """Return the settings to show first: those that users typed, and a few others.

    Of the others, a key that an earlier key determines is left out: `index.nlist` determines `index`. Typed
    keys are always shown: each trial of a search has its own learning rate, which determines all other keys.
    """
    settings = _readable_settings(runs)
    chosen: list[str] = []
    for key in keys:
        is_determined = any(
            len(set(zip(settings[other], settings[key], strict=True))) == len(set(settings[other]))
            for other in chosen
        )
        if key in typed or (len(chosen) < MOST_IN_CONSOLE and not is_determined):
            chosen.append(key)
    return chosen


def _readable_settings(runs: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the values of each setting in the runs whose config.yaml could be read."""
    readable = runs[runs["configuration"] != ""]
    columns = [column for column in map(str, runs) if column.startswith(SETTING)]
    return {column.removeprefix(SETTING): list(readable[column]) for column in columns}


def _choose_baseline(
    name: str | None,
    metric: str,
    higher: bool | None,
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    results: Mapping[str, Result],
) -> tuple[int | None, str, pd.DataFrame]:
    """Return the baseline's position, how it was chosen, and the built-in baselines of its data.

    Built-in baselines are counted after the rows. Without a name it is the best row on the validation split
    among those on the data of most runs. Of rows that are equal there, such as one training under several
    indexes, it is the one whose index has the highest recall. The test split never chooses: the best of many
    test results is partly luck.

    Raises:
        InputError: nothing or several rows have this name, or the run has no figures.
    """
    group = largest_group(runs)
    built_in = baseline_rows(group, results)
    if name:
        position = _find_baseline(name, [*records(rows), *records(built_in)], len(rows))
        if position < len(rows):
            built_in = baseline_rows(runs[runs["data"] == rows["data"][position]], results)
        return position, "named", built_in
    measured = rows[rows["state"].isin(MEASURED) & rows["data"].isin(group["data"])]
    key = validation_key(metric)
    columns = list(dict.fromkeys([metric, key, INDEX_COLUMNS[0]]))
    measured = measured.reindex(columns=columns).dropna(subset=[metric])
    if measured.empty:
        return None, "", built_in
    validated = measured.dropna(subset=[key])
    if validated.empty or higher is None:
        why = (
            f"no run has {heading(key)} to choose by"
            if validated.empty
            else f"{heading(key)} has no better direction"
        )
        return int(measured.index[0]), f"the first; {why}, and baseline= names another", built_in
    recall = validated[INDEX_COLUMNS[0]].fillna(0)
    best = max(validated.index, key=lambda at: (validated[key][at] * (1 if higher else -1), recall[at]))
    test = ", not by the test split" if key != metric else ""
    return int(best), f"the best by {heading(key)}{test}", built_in


def _find_baseline(name: str, named: Sequence[Mapping[str, Any]], num_rows: int) -> int:
    """Return the position of the row that `baseline=` names: a folder, a name, or a part of one name."""
    folder = Path(name).resolve() if Path(name).is_dir() else None
    trained, built_in = range(num_rows), range(num_rows, len(named))
    matches = (
        [at for at in trained if folder and folder in (Path(each).resolve() for each in named[at]["folders"])]
        or [at for at in built_in if named[at]["name"] == name]
        or [at for at in trained if named[at]["name"] == name]
        or [at for at in trained if name in named[at]["name"]]
    )
    if len(matches) > 1:
        names = ", ".join(named[at]["name"] for at in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise InputError(f"baseline={name}: {len(matches)} runs have this in their name ({names}); name one")
    if not matches:
        suggestion = nearest(name, [row["name"] for row in named])
        raise InputError(f"baseline={name}: no such run or baseline here; {suggestion}")
    row = named[matches[0]]
    if row["state"] not in MEASURED:
        raise InputError(f"baseline={name}: this run has no metrics ({row['problem']}); name another")
    return matches[0]


def _sort_order(
    candidates: Sequence[Mapping[str, Any]],
    shown: Sequence[int],
    baseline: int | None,
    metric: str,
    higher: bool | None,
) -> list[int]:
    """Return positions, the best by validation first; rows on other data and without figures come last."""
    sign = 1 if higher is False else -1

    def sort_key(at: int) -> tuple[Any, ...]:
        row = candidates[at]
        values = [row.get(key) for key in (validation_key(metric), metric)]
        numbers = [None if value is None or pd.isna(value) else value for value in values]
        return (
            row["state"] not in MEASURED,
            baseline is not None and data_difference(row, candidates[baseline]) != "",
            [(value is None, sign * (value or 0.0)) for value in numbers],
            row["name"],
        )

    return sorted(shown, key=sort_key)


def _shown_figures(
    names: Sequence[str] | None, figures: Sequence[str], keys: Sequence[str], metric: str
) -> list[str]:
    if names is not None:
        return [find_figure(name, "columns", figures) for name in names if name.strip()]
    index_differs = any(key.split(".")[0] == "index" for key in keys) or metric.startswith("index/")
    k = (metric if "_at_" in metric else DEFAULT).rpartition("_at_")[2]
    more = (exact_key(metric), *INDEX_COLUMNS) if index_differs else ("test/ndcg_at_20",)
    chosen = [validation_key(metric), *more]
    chosen += [f"{COLD_START}{part}/recall_at_{k}" for part in COLD_START_PARTS]
    return [key for key in chosen if key != metric and key in figures]


def _with_differences(rows: pd.DataFrame, table: pd.DataFrame, baseline: int | None) -> pd.DataFrame:
    """Return the rows with their differences from the baseline; of a row without, its state or problem."""
    columns = table.set_index("left")[[*DIFFERENCE_COLUMNS]].reindex(rows.index)
    verdicts, reasons = [], []
    for at, (state, problem) in enumerate(zip(rows["state"], rows["problem"], strict=True)):
        verdict, reason = columns["verdict"][at], columns["reason"][at]
        if at == baseline:
            verdict, reason = BASELINE, problem
        elif pd.isna(verdict):
            verdict, reason = (UNREADABLE, problem) if state == UNREADABLE else (problem, "")
        else:
            reason = "; ".join(text for text in (reason, problem) if text)
        verdicts.append(verdict)
        reasons.append(reason)
    return rows.join(columns.assign(verdict=verdicts, reason=reasons))


def _with_spread(rows: pd.DataFrame, spread: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with mean and standard deviation over the seeds of their configurations."""
    row_spread = spread.reindex(pd.MultiIndex.from_frame(rows[GROUP])).reset_index(drop=True)
    row_spread = row_spread.where((rows["kind"] != "baseline") & rows["state"].isin(MEASURED))
    counts = [None if pd.isna(count) else int(count) for count in row_spread["count"]]
    return rows.assign(
        seed_mean=row_spread["mean"], seed_sd=row_spread["std"], num_seeds=pd.Series(counts, dtype=object)
    )
