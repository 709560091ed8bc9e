"""The comparison of runs: one table with a row per run, verdicts against a baseline, and notes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, validate_call

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.experiments.compare.figure_names import (
    COLD_START,
    COLD_START_PARTS,
    DEFAULT,
    INDEX_COLUMNS,
    exact_key,
    find_figure,
    heading,
    validation_key,
)
from twotower.experiments.compare.notes import problem_notes, verdict_notes, window_notes
from twotower.experiments.compare.run_frame import (
    GROUP,
    MEASURED,
    SETTING,
    baseline_rows,
    configuration_rows,
    data_difference,
    figures_in,
    make_frame,
    read_runs,
    records,
    run_folders,
    seed_noise,
    seed_spread,
    setting_text,
)
from twotower.experiments.compare.verdicts import (
    DIFFERENCE_COLUMNS,
    NOT_COMPARABLE,
    add_verdicts,
    whole_numbers,
)
from twotower.experiments.runs.fingerprint import EVALUATION_KEYS, IRRELEVANT_KEYS, override_key
from twotower.experiments.runs.higher_is_better import INDEX_RECALL, higher_is_better
from twotower.experiments.runs.outcome import initial_embeddings_note, main_effects
from twotower.experiments.runs.result import EPOCHS_KEPT, VALID
from twotower.experiments.runs.test_ledger import look_notes

MAX_IN_CONSOLE = 6


@dataclass(frozen=True)
class Comparison:
    """Runs and what distinguishes them, as every form of output shows them."""

    rows: pd.DataFrame
    """The table in its order: the best by validation first, then rows that are not comparable, then rows
    without figures. Columns of `run_frame.read_runs`, seed_mean, seed_sd, num_seeds, `DIFFERENCE_COLUMNS`."""
    runs: pd.DataFrame
    """One row per run, whatever the rows of the table stand for."""
    metric: str
    higher: bool | None
    """Whether higher values of the metric are better; None if it has no preferred direction."""
    columns: list[str]
    """More figures to show."""
    keys: list[str]
    """Settings that differ, the most important first."""
    main_keys: list[str]
    baseline: int | None
    baseline_reason: str
    num_tests: int
    num_users: int
    noise: tuple[float, int] | None
    """Standard deviation over seeds on the baseline's data, and the number of seeds."""
    min_effect: float | None
    effects: list[str]
    """Main effects of the main settings on the validation metric, see `main_effects`."""
    notes: list[str]

    def table(self, figures: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows with the settings that differ, figures (None for all) and verdicts."""
        chosen = figures_in(self.rows) if figures is None else figures
        chosen = [self.metric, *(key for key in chosen if key != self.metric)]
        identity = ["name", "kind", "folder", "state", "seeds", "note"]
        settings = [f"{SETTING}{key}" for key in self.keys]
        columns = [*identity, *settings, *(key for key in chosen if key in self.rows)]
        return self.rows[[*columns, "seed_mean", "seed_sd", "num_seeds", *DIFFERENCE_COLUMNS]]


def is_comparable(rows: pd.DataFrame) -> pd.Series:
    """Return which rows are of runs whose figures can be compared with the baseline's."""
    is_run = rows["state"].isin(MEASURED) & (rows["kind"] != "baseline")
    return is_run & (rows["verdict"] != NOT_COMPARABLE)


@validate_call
def compare(
    paths: Sequence[str | Path],
    *,
    metric: str | None = None,
    columns: Sequence[str] | None = None,
    baseline: str | None = None,
    with_baselines: bool = False,
    by: Literal["run", "configuration"] = "run",
    tests: bool = True,
    min_effect: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
) -> Comparison:
    """Read runs and compare them; with the arguments and errors of `twotower.compare`."""
    folders, notes = run_folders(map(str, paths))
    runs = read_runs(folders)
    figures = figures_in(runs)
    metric = find_figure(metric, "metric", figures) if metric else _default_metric(figures)
    ways = [result.higher_is_better for result in runs["result"]]
    higher = higher_is_better(metric, ways)
    by_configuration = by == "configuration"
    keys, main_keys = _differing_settings(runs, by_configuration)
    rows, row_notes = configuration_rows(runs) if by_configuration else (runs, [])
    valid_higher = higher_is_better(validation_key(metric), ways)
    rows, position, reason = _with_baseline(rows, runs, baseline, with_baselines, metric, valid_higher)

    spread = seed_spread(runs, metric)
    is_trained = (rows["kind"] != "baseline") & rows["state"].isin(MEASURED)
    row_spread = rows[GROUP].join(spread, on=GROUP).where(is_trained)
    counts = whole_numbers(row_spread["count"])
    rows = rows.assign(seed_mean=row_spread["mean"], seed_sd=row_spread["std"], num_seeds=counts)
    on_same_data = runs[runs["data"] == (None if position is None else rows["data"][position])]
    # Of the towers alone, so that one training under several indexes counts once.
    noise = seed_noise(seed_spread(on_same_data, exact_key(metric)))
    rows, num_tests, num_users = add_verdicts(rows, position, metric, higher, noise, tests, min_effect)
    num_repeated = len(seed_spread(on_same_data, metric))
    ended = runs[runs["state"].isin(MEASURED)]
    return Comparison(
        rows=rows,
        runs=runs,
        metric=metric,
        higher=higher,
        columns=_shown_figures(columns, figures, keys, metric),
        keys=keys,
        main_keys=main_keys,
        baseline=position,
        baseline_reason=reason,
        num_tests=num_tests,
        num_users=num_users,
        noise=noise,
        min_effect=min_effect,
        effects=_effects(rows, main_keys, validation_key(metric), valid_higher),
        notes=[
            *notes,
            *row_notes,
            *verdict_notes(rows, metric, higher, num_repeated, tests, by_configuration),
            *(["min_effect has no effect: no difference is tested"] if min_effect and not num_tests else []),
            *window_notes(runs, metric),
            *problem_notes(rows),
            *initial_embeddings_note(ended.get(EPOCHS_KEPT, ()), keys),
            *look_notes(ended["folder"], ended["result"]),
        ],
    )


def _effects(rows: pd.DataFrame, keys: Sequence[str], metric: str, higher: bool | None) -> list[str]:
    """Return the main effects of settings in the rows that can be compared with the baseline.

    Keys of the index are left out: the validation metric here is measured by exact search.
    """
    if metric not in rows or higher is None:
        return []
    shown = rows[is_comparable(rows) & rows[metric].notna()]
    columns = {key: f"{SETTING}{key}" for key in dict.fromkeys([*keys, "seed"])}
    settings = {
        key: dict(zip(shown["name"], shown[column].map(setting_text), strict=True))
        for key, column in columns.items()
        if column in shown
    }
    scores = dict(zip(shown["name"], shown[metric], strict=True))
    lines = main_effects(settings, scores, metric, not higher)
    return [line for line in lines if not line.startswith(("index=", "index."))]


def _default_metric(figures: Sequence[str]) -> str:
    """Return recall@20 or another metric of the test split; of the validation split if it is hidden."""
    order = [DEFAULT, *(key for key in figures if key.startswith("test/"))]
    order += [validation_key(DEFAULT), *(key for key in figures if key.startswith(VALID))]
    return next((key for key in order if key in figures), DEFAULT)


def _differing_settings(runs: pd.DataFrame, by_configuration: bool) -> tuple[list[str], list[str]]:
    """Return the settings whose values differ between runs, the most important first; and the main ones.

    The order: what users typed most often, choices of a group, the rest by number of values, settings of the
    evaluation, and the seed. The main ones are those that users typed, and a few others that no earlier key
    determines: `index.nlist` determines `index`.
    """
    typed = Counter(override_key(text) for result in runs["result"] for text in result.overrides)
    readable = runs[runs["configuration"] != ""]
    columns = [column for column in map(str, runs) if column.startswith(SETTING)]
    values = {column.removeprefix(SETTING): list(readable[column]) for column in columns}
    num_values = {key: len(set(each)) for key, each in values.items()}
    groups = {key.rpartition(".")[0] for key in values}

    def sort_key(key: str) -> tuple[bool, bool, int, bool, int, int]:
        is_evaluation = key.split(".")[0] in EVALUATION_KEYS - {"benchmark"}
        is_choice = key in groups
        return key == "seed", is_evaluation, -typed[key], not is_choice, key.count("."), -num_values[key]

    ignored = IRRELEVANT_KEYS | ({"seed"} if by_configuration else set())
    keys = sorted(
        (key for key in values if key.split(".")[0] not in ignored and num_values[key] > 1), key=sort_key
    )
    main: list[str] = []
    for key in keys:
        is_determined = any(
            len(set(zip(values[other], values[key], strict=True))) == num_values[other] for other in main
        )
        if key in typed or (len(main) < MAX_IN_CONSOLE and not is_determined):
            main.append(key)
    return keys, main


def _with_baseline(
    rows: pd.DataFrame,
    runs: pd.DataFrame,
    name: str | None,
    with_baselines: bool,
    metric: str,
    higher: bool | None,
) -> tuple[pd.DataFrame, int | None, str]:
    """Return the sorted rows with built-in baselines, the position of the baseline, and how it was chosen."""
    ended = runs["data"][runs["state"].isin(MEASURED) & (runs["data"] != "")]
    main_data = Counter(ended).most_common(1)[0][0] if len(ended) else None
    rows = make_frame([*records(rows), *baseline_rows(runs, metric)])
    is_built_in = rows["kind"] == "baseline"
    baseline: int | None
    if name:
        baseline, reason = _find_baseline(name, rows[~is_built_in | (rows["data"] == main_data)]), "named"
    else:
        baseline, reason = _best_by_validation(
            rows[~is_built_in & (rows["data"] == main_data)], metric, higher
        )
    data = main_data if baseline is None else rows["data"][baseline]
    rows = rows[~is_built_in | (rows.index == baseline) | ((rows["data"] == data) & with_baselines)]
    base = None if baseline is None else dict(rows.loc[baseline])
    sort_by = pd.DataFrame(
        {
            "is_unmeasured": ~rows["state"].isin(MEASURED),
            "is_on_other_data": [bool(base and data_difference(row, base)) for row in records(rows)],
            "validation": rows.get(validation_key(metric)),
            "metric": rows.get(metric),
            "name": rows["name"],
        }
    )
    lowest_first = higher is False
    ascending = [True, True, lowest_first, lowest_first, True]
    order = list(sort_by.sort_values([*sort_by], ascending=ascending).index)
    return rows.loc[order].reset_index(drop=True), None if baseline is None else order.index(baseline), reason


def _best_by_validation(rows: pd.DataFrame, metric: str, higher: bool | None) -> tuple[int | None, str]:
    """Return the position of the best row on the validation split, and how it was chosen.

    Of rows that are equal there, such as one training under several indexes, it is the one whose index has
    the highest recall. The test split never chooses: the best of many test results is partly luck.
    """
    key = validation_key(metric)
    rows = rows.reindex(columns=list(dict.fromkeys([metric, key, INDEX_RECALL]))).dropna(subset=[metric])
    if rows.empty:
        return None, ""
    validated = rows.dropna(subset=[key]).fillna({INDEX_RECALL: 0})
    if validated.empty or higher is None:
        name = heading(key)
        why = f"no run has {name} to choose by" if validated.empty else f"{name} has no better direction"
        return int(rows.index[0]), f"the first; {why}, and baseline= names another"
    best = validated.sort_values([key, INDEX_RECALL], ascending=[not higher, False]).index[0]
    return int(best), f"the best by {heading(key)}{', not by the test split' if key != metric else ''}"


def _find_baseline(name: str, rows: pd.DataFrame) -> int:
    """Return the index of the row that `baseline=` names: a folder, a name, or a part of one name."""
    names, is_built_in = rows["name"], rows["kind"] == "baseline"
    folder = Path(name).resolve() if Path(name).is_dir() else None
    is_in_folder = rows["folders"].map(lambda folders: folder in [Path(each).resolve() for each in folders])
    matches = (
        rows[~is_built_in & is_in_folder],
        rows[is_built_in & (names == name)],
        rows[~is_built_in & (names == name)],
        rows[~is_built_in & names.str.contains(name, regex=False)],
    )
    found = next((each for each in matches if len(each)), rows[:0])
    if len(found) > 1:
        shown = ", ".join(found["name"][:5]) + (", ..." if len(found) > 5 else "")
        raise InputError(f"baseline={name}: {len(found)} runs have this in their name ({shown}); name one")
    if found.empty:
        raise InputError(f"baseline={name}: no such run or baseline here; {nearest(name, names)}")
    if found["state"].iloc[0] not in MEASURED:
        problem = found["problem"].iloc[0]
        raise InputError(f"baseline={name}: this run has no metrics ({problem}); name another")
    return int(found.index[0])


def _shown_figures(
    names: Sequence[str] | None, figures: Sequence[str], keys: Sequence[str], metric: str
) -> list[str]:
    if names is not None:
        return list(dict.fromkeys(find_figure(name, "columns", figures) for name in names if name.strip()))
    index_differs = any(key.split(".")[0] == "index" for key in keys) or metric.startswith("index/")
    k = (metric if "_at_" in metric else DEFAULT).rpartition("_at_")[2]
    more = (exact_key(metric), *INDEX_COLUMNS) if index_differs else ("test/ndcg_at_20",)
    cold_start = (f"{COLD_START}{part}/recall_at_{k}" for part in COLD_START_PARTS)
    chosen = [validation_key(metric), EPOCHS_KEPT, *more, *cold_start]
    return [key for key in chosen if key != metric and key in figures]
