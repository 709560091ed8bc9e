"""Runs as one table: a row per run or configuration, a column per setting and per figure."""

import glob
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.experiments.compare.figure_names import exact_key
from twotower.experiments.runs.fingerprint import configuration_fingerprint
from twotower.experiments.runs.folder_name import flatten_with_choices, without_seed
from twotower.experiments.runs.result import Result, is_number, read_result
from twotower.experiments.runs.run_files import CONFIG, RESULT, require_run, runs_below
from twotower.experiments.runs.tower_origin import configuration_settings
from twotower.files.plain_values import load_yaml

SETTING = "settings."
"""Prefix of the columns that hold settings; a column with a slash in its name holds a figure."""

UNENDED, UNREADABLE = "unended", "unreadable"
MEASURED = ("ok", "index_rejected")
"""States of runs that have figures."""

GROUP = ["data", "configuration"]
"""Columns that are equal for the seeds of one configuration."""

ABSENT = "–"


def run_folders(paths: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of all runs at or below these paths or globs, and notes on paths without a run."""
    by_text = {text: [folder for path in _matching(text) for folder in runs_below(path)] for text in paths}
    notes = [f"{text}: no run is in this folder or below it" for text, below in by_text.items() if not below]
    folders = {folder.resolve(): folder for below in reversed(by_text.values()) for folder in below}
    if not folders:
        raise InputError(
            f"no run found in {', '.join(by_text)}: a run is a folder with a {CONFIG}; "
            "twotower train makes one"
        )
    return sorted(folders.values()), notes


def _matching(text: str) -> list[Path]:
    path = Path(text)
    # Names of jobs may contain brackets, which a glob reads as a choice of letters.
    if path.exists():
        folder = path if path.is_dir() else path.parent
        if path.is_file() and not (folder / CONFIG).is_file():
            raise InputError(f"{path}: a file, not a run; name a folder that holds runs")
        if (folder / MANIFEST).is_file():
            require_run(folder)
        return [folder]
    # `Path.glob` refuses absolute patterns.
    matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []  # noqa: PTH207
    if not matches:
        kind = "no path fits this pattern" if glob.has_magic(text) else "there is no such file or folder"
        raise InputError(f"{text}: {kind}; name a run, a sweep, a folder above them or a glob in quotes")
    return [Path(match) for match in matches if Path(match).is_dir()]


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Read runs into a table with a row per run, in the order of `folders`.

    The columns are as in `_read_run`, with a name, then `settings.<key>` (None where a run has no such
    setting), then figures such as `test/recall_at_20` (NaN where a run has none).
    """
    shared = shared_folder(folders)
    rows = [{"name": str(folder.resolve().relative_to(shared)), **_read_run(folder)} for folder in folders]
    stated = {column for row in rows for column in row if column.startswith(SETTING)}
    for row in rows:
        if stated & row.keys():
            defaults = {f"{SETTING}{key}": _finite(value) for key, value in row["result"].defaults.items()}
            row |= {column: value for column, value in defaults.items() if column in stated - row.keys()}
    return make_frame(rows)


def _read_run(folder: Path) -> dict[str, Any]:
    """Read a run into a row. A damaged file raises nothing: `state` and `problem` describe it.

    `configuration` is equal for runs whose settings differ in the seed alone; figures are comparable where
    `data` is equal and not empty.
    """
    result, settings, configuration = Result(status="failed"), {}, ""
    state, problem = UNENDED, "has not ended"
    try:
        loaded = load_yaml(folder / CONFIG)
        if not isinstance(loaded, dict):
            raise ValueError("it holds no mapping of settings")
        try:
            if (ended := read_result(folder)) is not None:
                if ended.finished and not ended.metrics:
                    raise InputError(f"{RESULT}: damaged (it has no metrics)")
                result, state, problem = ended, ended.status, _problem(ended)
        except InputError as error:
            state, problem = UNREADABLE, str(error).removeprefix(f"{folder}/").partition(";")[0]
        benchmark = loaded.get("benchmark")
        name = {"benchmark": benchmark.get("name")} if isinstance(benchmark, dict) else {}
        flat = flatten_with_choices(loaded | name, result.overrides)
        settings = {key: _finite(value) for key, value in flat.items()}
        # Computed even if the run recorded it: code that counted other keys may have written the run.
        configuration = configuration_fingerprint(configuration_settings(folder, loaded, result), "")
        if result.finished and result.fingerprint and not result.is_of(loaded):
            problem = "; ".join(filter(None, [problem, f"its {CONFIG} was edited after the run"]))
    except (ValueError, TypeError) as error:
        result, state, problem = Result(status="failed"), UNREADABLE, f"{CONFIG} is damaged: {error}"
    seed = settings.get("seed") if result.seed is None else result.seed
    note = settings.get("note")
    data, seen_filter = result.data.fingerprint, result.data.audit.get("seen_filter")
    row = {
        "kind": "run",
        "folder": str(folder),
        "folders": (str(folder),),
        "state": state,
        "problem": problem,
        "seed": seed if isinstance(seed, int) else None,
        "seeds": (seed,) if isinstance(seed, int) else (),
        "note": note if isinstance(note, str) else "",
        "configuration": configuration,
        "data": "" if data is None else f"{data} {seen_filter}",
        "result": result,
    }
    figures = result.figures() if result.finished else {}
    return row | {f"{SETTING}{key}": value for key, value in settings.items()} | figures


def _problem(result: Result) -> str:
    epochs = result.training.epochs
    return {
        "ok": "",
        "index_rejected": "index rejected",
        "pruned": "pruned" if epochs is None else f"pruned at epoch {epochs}",
        "failed": f"failed: {' '.join((result.error or 'no reason is recorded').split())}",
    }[result.status]


def _finite(value: Any) -> Any:
    """Return a setting unchanged, but infinity and NaN as text, which JSON has no number for."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def make_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table: settings keep their types, figures are floats; missing values are None and NaN."""
    columns = dict.fromkeys(column for row in rows for column in row)
    figures = list(filter(is_figure, columns))
    words = [column for column in columns if not is_figure(column)]
    others = pd.DataFrame(rows, columns=words, dtype=object)
    return others.where(others.notna(), None).join(pd.DataFrame(rows, columns=figures, dtype=float))


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries by column."""
    return [{str(column): value for column, value in row.items()} for row in rows.to_dict("records")]


def is_figure(column: str) -> bool:
    """Return whether a column of the table holds figures."""
    return "/" in column and not column.startswith(SETTING)


def figures_in(rows: pd.DataFrame) -> list[str]:
    """Return the figures that at least one row has."""
    return [column for column in map(str, rows) if is_figure(column) and rows[column].notna().any()]


def setting_text(value: Any) -> str:
    """Return a setting as text for a table; a dash where the run has no such setting."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def shared_folder(folders: Iterable[Path | str]) -> Path:
    """Return the deepest folder that contains all runs."""
    return Path(os.path.commonpath([Path(folder).resolve().parent for folder in folders]))


def data_difference(run: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how the data of two rows differ; empty if their figures are comparable."""
    if not run["data"] or not other["data"]:
        return "a result does not record its data"
    if run["data"] == other["data"]:
        return ""
    left, right = (row["result"].data.audit.get("seen_filter") for row in (run, other))
    if left != right:
        return f"seen items are filtered in one and not in the other (seen_filter {left} against {right})"
    for part in ("split", "data"):
        columns = [column for column in run if column.split(".")[:2] == [SETTING[:-1], part]]
        # Settings that both rows have come first.
        for column in sorted(columns, key=lambda column: None in (run[column], other[column])):
            texts = setting_text(run[column]), setting_text(other[column])
            if texts[0] != texts[1]:
                return f"other {part}: {column.removeprefix(SETTING)} {texts[0]} against {texts[1]}"
    return "other data: its content has changed"


def configuration_rows(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per configuration with the means of its runs that ended, and notes on the other runs.

    Runs on different data are different configurations; a run that has not ended does not record its data and
    joins the first configuration with its settings.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in sorted(records(runs), key=lambda run: run["state"] not in MEASURED):
        key: tuple[str, ...] = run["configuration"], run["data"]
        if run["state"] not in MEASURED:
            key = next((each for each in groups if each[0] == run["configuration"] != ""), (run["folder"],))
        groups.setdefault(key, []).append(run)
    rows, notes = [], []
    for group in groups.values():
        missing = [run for run in group if run["state"] not in MEASURED]
        members = list({run["seed"]: run for run in group if run["state"] in MEASURED}.values())
        row = (members or group)[0] | {"kind": "configuration"}
        if len(members) > 1:
            row["name"] = f"{without_seed(row['name']) or row['name']} ({len(members)} seeds)"
            row["seeds"] = tuple(run["seed"] for run in members if run["seed"] is not None)
            row["folders"] = tuple(run["folder"] for run in members)
            # A figure that one of them lacks has no mean.
            row |= {key: sum(run[key] for run in members) / len(members) for key in row if is_figure(key)}
        rows.append(row)
        if members:
            notes += [f"{run['name']}: {run['problem']}; not in the mean of {row['name']}" for run in missing]
        if members and (repeats := len(group) - len(missing) - len(members)):
            notes.append(f"{row['name']}: {repeats} more runs repeat a seed; the latest of each seed counts")
    return make_frame(rows), notes


def baseline_rows(runs: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Return a row for each data set and built-in baseline.

    It has the figures of the first run on the data in which the baseline has the metric, else of the first.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in records(runs[runs["state"].isin(MEASURED)]):
        shared = ("folder", "folders", "configuration", "data", "result")
        row = {column: run[column] for column in shared}
        row |= {"kind": "baseline", "state": "ok", "problem": "", "seed": None, "seeds": (), "note": ""}
        for name, recorded in run["result"].baselines.items():
            figures = {key: value for key, value in recorded.items() if is_number(value)}
            # A baseline has no index, so its figures are by exact search.
            exact = {exact_key(key): value for key, value in figures.items()}
            found = rows.get((run["data"], name))
            if found is None or (metric not in found and metric in figures | exact):
                rows[run["data"], name] = {**row, "name": name, **figures, **exact}
    return list(rows.values())


def seed_spread(runs: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return mean, std and count of a figure over the seeds of each `GROUP` with at least two."""
    measured = runs.reindex(columns=[*GROUP, "seed", figure]).dropna(subset=[figure])
    last = measured.drop_duplicates([*GROUP, "seed"], keep="last")
    spread = last.groupby(GROUP, sort=False)[figure].agg(["mean", "std", "count"])
    return spread[spread["count"] > 1]


def seed_noise(spread: pd.DataFrame) -> tuple[float, int] | None:
    """Return the pooled standard deviation of one run over seeds, and how many seeds it is from.

    Equal spreads of equal means belong to one training that was indexed several times and count once.
    `spread` is measured on configurations of the same data, see `seed_spread`.
    """
    if spread.empty:
        return None
    distinct = spread.drop_duplicates()
    freedom = distinct["count"] - 1
    variance = float((distinct["std"] ** 2 * freedom).sum() / freedom.sum())
    return math.sqrt(variance), int(distinct["count"].sum())
