"""The comparison of runs: one table with a row per run, verdicts against a baseline, and notes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

from twotower.reports.compare.baseline_choice import choose_baseline
from twotower.reports.compare.figure_names import (
    COLD_START,
    COLD_START_PARTS,
    DEFAULT,
    INDEX_COLUMNS,
    default_metric,
    exact_key,
    find_figure,
    per_user_column,
    validation_key,
)
from twotower.reports.compare.run_frame import (
    MEASURED,
    SETTING,
    UNENDED,
    UNREADABLE,
    figures_in,
    make_frame,
    read_runs,
    records,
)
from twotower.reports.compare.run_groups import (
    GROUP,
    configuration_rows,
    data_difference,
    seed_noise,
    seed_spread,
)
from twotower.reports.compare.searches import SearchRecord, read_searches
from twotower.reports.compare.verdicts import (
    BETTER,
    DIFFERENCE_COLUMNS,
    NOT_COMPARABLE,
    NOT_TESTED,
    WORSE,
    PairedComparison,
)
from twotower.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import Result

ONE_SEED = (
    "every configuration has one seed here, so better and worse hold for these runs; another seed may reverse"
    " a small difference (twotower train seeds=5 measures by how much)"
)
NO_DIRECTION = (
    "has no better direction in these runs (higher_is_better of result.json, from the metric's class): rows"
    " are sorted from the highest on, and none is called better"
)
IGNORED = IRRELEVANT_KEYS | {"sweep", "launcher", "resume", "rerun"}
"""Root keys that say how a run was started or printed."""

EVALUATION_KEYS = {"metrics", "baselines"}
"""Root keys that change what is measured of a model, not the model."""

BASELINE = "the baseline"


@dataclass(frozen=True)
class Comparison:
    """Runs and what distinguishes them, as every form of output shows them.

    Attributes:
        rows: the table in its order: the best by validation first, then rows that are not comparable, then
            rows without figures. Columns as in `run_frame.read_runs`, then `seed_mean`, `seed_sd`,
            `num_seeds` and `DIFFERENCE_COLUMNS`, the difference being row - baseline.
        pairs: all pairs of rows, if asked for; see `verdicts.PairedComparison.compare`.
        runs: one row per run, whatever the rows of the table stand for.
        results: by folder.
        metric: the figure to compare by.
        columns: more figures to show.
        keys: settings that differ, the most important first.
        baseline: position of its row, or None.
        baseline_reason: how the baseline was chosen.
        num_tests: number of tests that p-values are corrected for.
        num_users: users of the largest test.
        noise: standard deviation over seeds on the baseline's data and the number of seeds; or None.
        notes: lines to read with the table.
        searches: whose trials are compared.
    """

    rows: pd.DataFrame
    pairs: pd.DataFrame
    runs: pd.DataFrame
    results: Mapping[str, Result]
    metric: str
    columns: list[str]
    keys: list[str]
    baseline: int | None
    baseline_reason: str
    num_tests: int
    num_users: int
    noise: tuple[float, int] | None
    notes: list[str]
    searches: list[SearchRecord] = field(default_factory=list)

    def higher_is_better(self, key: str) -> bool | None:
        """Return whether higher values of a figure are better; None if it has no preferred direction."""
        return higher_is_better(key, (result.higher_is_better for result in self.results.values()))

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return records(self.rows)

    def table(self, figures: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows with the settings that differ, figures and verdicts.

        Args:
            figures: to include; None for all.
        """
        chosen = figures_in(self.rows) if figures is None else list(figures)
        chosen = [self.metric, *(key for key in chosen if key != self.metric)]
        identity = ["name", "kind", "folder", "state", "seeds", "note"]
        settings = [f"{SETTING}{key}" for key in self.keys]
        columns = [*identity, *settings, *(key for key in chosen if key in self.rows)]
        return self.rows[[*columns, "seed_mean", "seed_sd", "num_seeds", *DIFFERENCE_COLUMNS]]


class Options(BaseModel):
    """What to compare, and how.

    Attributes:
        metric: figure to compare by; None for recall@20 on the test split.
        columns: more figures to show; None for validation, index and cold start.
        baseline: run or built-in baseline; None for the best run by validation.
        with_baselines: whether to add the built-in baselines as rows.
        by: a row per run, or per configuration with the mean over its seeds.
        pairs: whether to compare all pairs too.
        tests: whether to test differences.
    """

    metric: str | None = None
    columns: list[str] | None = None
    baseline: str | None = None
    with_baselines: bool = False
    by: Literal["run", "configuration"] = "run"
    pairs: bool = False
    tests: bool = True


def compare(folders: Sequence[Path], options: Options | None = None, notes: Sequence[str] = ()) -> Comparison:
    """Read runs and compare them.

    Args:
        folders: of the runs.
        options: what to compare, and how.
        notes: lines to show with the notes of the comparison.

    Raises:
        InputError: an unknown metric, column or baseline.
    """
    options = options or Options()
    runs, results = read_runs(folders)
    figures = figures_in(runs)
    metric = find_figure(options.metric, "metric", figures) if options.metric else default_metric(figures)
    higher = higher_is_better(metric, (result.higher_is_better for result in results.values()))
    keys = [key for key in differing_keys(runs, results) if key != "seed" or options.by == "run"]
    rows, row_notes = configuration_rows(runs) if options.by == "configuration" else (runs, [])
    position, reason, built_in = choose_baseline(options.baseline, metric, higher, rows, runs, results)
    candidates = [*records(rows), *records(built_in)]
    num_rows = len(candidates) if options.with_baselines else len(rows)
    shown = [*range(num_rows), *([position] if position is not None and position >= num_rows else ())]
    order = _sort_order(candidates, shown, position, metric, higher)
    rows = make_frame([candidates[at] for at in order])
    baseline = None if position is None else order.index(position)
    spread = seed_spread(runs, metric)
    # Of the towers alone, so that one training under several indexes counts once.
    noise = seed_noise(seed_spread(runs, exact_key(metric)))
    measured = [at for at, state in enumerate(rows["state"]) if state in MEASURED]
    against = [(at, baseline) for at in measured if baseline is not None and at != baseline]
    all_pairs = list(combinations(measured, 2)) if options.pairs else []
    tests = PairedComparison(rows, metric, higher, noise, options.tests)
    differences = tests.compare([*against, *all_pairs])
    rows = _with_spread(_with_differences(rows, differences[: len(against)], baseline), spread)
    data = None if baseline is None else (rows["data"][baseline], rows["seen_filter"][baseline])
    num_repeated = 0 if data is None else sum(key[:2] == data for key in spread.index)
    return Comparison(
        rows=rows,
        pairs=differences[len(against) :].reset_index(drop=True),
        runs=runs,
        results=results,
        metric=metric,
        columns=_shown_figures(options.columns, figures, keys, metric),
        keys=keys,
        baseline=baseline,
        baseline_reason=reason,
        num_tests=tests.num_tests,
        num_users=tests.num_users,
        noise=None if data is None else noise.get(data),
        notes=[
            *notes,
            *row_notes,
            *_test_notes(options, metric, higher, num_repeated, rows),
            *_problem_notes(rows),
            *_warm_start_notes(runs, results),
        ],
        searches=read_searches(folders),
    )


def _test_notes(
    options: Options, metric: str, higher: bool | None, num_repeated: int, rows: pd.DataFrame
) -> Iterator[str]:
    """Yield what the verdicts leave out; `num_repeated` configurations have several seeds."""
    if options.tests and per_user_column(metric) is None:
        yield f"{metric} is no mean over users of the test split, so differences in it are not tested"
    if higher is None:
        yield f"{metric} {NO_DIRECTION}"
    if num_repeated and options.by == "run":
        several = "1 configuration has" if num_repeated == 1 else f"{num_repeated} configurations have"
        yield f"{several} several seeds; by=configuration tests all of them, and the variation over seeds too"
    elif not num_repeated and rows["verdict"].isin([BETTER, WORSE]).any():
        yield ONE_SEED


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


def _with_differences(rows: pd.DataFrame, table: pd.DataFrame, baseline: int | None) -> pd.DataFrame:
    """Return the rows with their differences from the baseline; of a row without, its state or problem."""
    columns = table.set_index("left")[[*DIFFERENCE_COLUMNS]].reindex(rows.index)
    verdicts, reasons = [], []
    for at, row in enumerate(records(rows)):
        verdict, reason = columns["verdict"][at], columns["reason"][at]
        if at == baseline:
            verdict, reason = BASELINE, row["problem"]
        elif pd.isna(verdict):
            is_damaged = row["state"] == UNREADABLE
            verdict, reason = (UNREADABLE, row["problem"]) if is_damaged else (row["problem"], "")
        else:
            reason = "; ".join(text for text in (reason, row["problem"]) if text)
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


def several(names: Sequence[str]) -> str:
    """Return the first of several names and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _problem_notes(rows: pd.DataFrame) -> list[str]:
    problems: dict[str, list[str]] = {}
    for row in records(rows):
        problem = ""
        if row["state"] in (UNREADABLE, UNENDED):
            problem = f"{row['reason'] or row['verdict']}; shown without figures"
        elif row["verdict"] == NOT_COMPARABLE:
            problem = f"not comparable with the baseline: {row['reason']}"
        elif row["verdict"] == NOT_TESTED:
            problem = f"not tested against the baseline: {row['reason']}"
        if problem:
            name = row["name"] if row["kind"] == "baseline" else row["folder"]
            problems.setdefault(problem, []).append(name)
    return [f"{several(names)}: {problem}" for problem, names in problems.items()]


def _warm_start_notes(runs: pd.DataFrame, results: Mapping[str, Result]) -> list[str]:
    """Return a line for each run that started from another run: from which, how, and how much data is new."""
    lines = []
    for name, folder in zip(runs["name"], runs["folder"], strict=True):
        ancestry = results[folder].ancestry
        if ancestry is None:
            continue
        parent = Path(ancestry.parent).name or ancestry.parent
        more = (
            f"{ancestry.new_users:,} new users, {ancestry.new_items:,} new items, "
            f"{ancestry.new_interactions:,} new interactions"
        )
        if ancestry.how == "rebuild_bundle":
            how = f"towers of {parent} without further training, generation {ancestry.generation}"
        else:
            how = (
                f"generation {ancestry.generation}, started from {parent}, trained for {ancestry.epochs} "
                f"epochs on new interactions and a share of {ancestry.replay:g} of the old ones"
            )
        lines.append(f"{name}: {how}; {more}")
    return lines


def differing_keys(runs: pd.DataFrame, results: Mapping[str, Result]) -> list[str]:
    """Return the settings whose values differ between runs, the most important first.

    The order: what users typed most often, choices of a group, the rest by number of values, settings of the
    evaluation, and the seed.
    """
    readable = with_settings(runs)
    keys = [column.removeprefix(SETTING) for column in map(str, runs) if column.startswith(SETTING)]
    num_values = {key: len({row[f"{SETTING}{key}"] for row in readable}) for key in keys}
    typed = Counter(override_key(text) for row in readable for text in results[row["folder"]].overrides)
    groups = {key.rpartition(".")[0] for key in keys}

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

    different = [key for key in keys if key.split(".")[0] not in IGNORED and num_values[key] > 1]
    return sorted(different, key=sort_key)


def with_settings(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the runs whose config.yaml could be read, as dictionaries."""
    return records(runs[runs["configuration"] != ""])
