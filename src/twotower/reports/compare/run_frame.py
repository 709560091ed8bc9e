"""Runs as one table: a row per run or configuration, a column per setting and per figure."""

import glob
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.files.plain_values import load_yaml
from twotower.reports.compare.figure_names import exact_key
from twotower.runs.fingerprint import fingerprint, flatten
from twotower.runs.folder_name import without_seed
from twotower.runs.result import Result, is_number, read_result
from twotower.runs.run_files import CONFIG, RESULT, runs_below

SETTING = "settings."
"""Prefix of the columns that hold settings; a column with a slash in its name holds a figure."""

IDENTITY = (
    *("name", "kind", "folder", "folders", "state", "problem", "seed", "seeds", "note"),
    *("configuration", "data", "seen_filter"),
)
UNENDED, UNREADABLE = "unended", "unreadable"
MEASURED = ("ok", "index_rejected")
"""States of runs that have figures."""

GROUP = ["data", "configuration"]
"""Columns that are equal for the seeds of one configuration."""

ABSENT = "–"


def run_folders(paths: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of all runs at or below these paths or globs, and notes on paths without a run.

    Raises:
        InputError: a path does not exist, a path is a bundle, or no path has a run.
    """
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
        if (folder / MANIFEST).is_file() and (folder / CONFIG).is_file():
            raise InputError(f"{path}: a bundle, not a run; name its parent folder, {folder.parent}")
        return [folder]
    # `Path.glob` refuses absolute patterns.
    matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []  # noqa: PTH207
    if not matches:
        kind = "no path fits this pattern" if glob.has_magic(text) else "there is no such file or folder"
        raise InputError(f"{text}: {kind}; name a run, a sweep, a folder above them or a glob in quotes")
    return [Path(match) for match in matches if Path(match).is_dir()]


def read_runs(folders: Sequence[Path]) -> tuple[pd.DataFrame, dict[str, Result]]:
    """Read runs into a table, and return their results by folder.

    A damaged file raises nothing: the columns `state` and `problem` describe it.

    Returns:
        The table has a row per run, in the order of `folders`. Columns: those of `IDENTITY`, then
        `settings.<key>` (None where a run has no such setting), then figures such as `test/recall_at_20` and
        `index/latency_ms_p50` (NaN where a run has none). `configuration` is equal for runs whose settings
        differ in the seed alone; figures are comparable where `data` is equal and not empty.
    """
    rows, results = [], {}
    depth = len(_shared_parts(folders))
    for folder in folders:
        row, results[str(folder)] = _read_run(folder)
        rows.append({"name": "/".join(folder.resolve().parts[depth:]), **row})
    stated = {column for row in rows for column in row if column.startswith(SETTING)}
    for row in rows:
        if any(column.startswith(SETTING) for column in row):
            for key, value in results[row["folder"]].defaults.items():
                if f"{SETTING}{key}" in stated:
                    row.setdefault(f"{SETTING}{key}", _finite(value))
    return make_frame(rows), results


def _read_run(folder: Path) -> tuple[dict[str, Any], Result]:
    result = Result(status="failed")
    settings: dict[str, Any] = {}
    figures: dict[str, float] = {}
    configuration = ""
    try:
        loaded = load_yaml(folder / CONFIG)
        if not isinstance(loaded, dict):
            raise ValueError("it holds no mapping of settings")
        settings = {key: _finite(value) for key, value in flatten(loaded).items()}
        # Computed even if the run recorded it: code that counted other keys may have written the run.
        configuration = fingerprint({key: value for key, value in loaded.items() if key != "seed"}, "")
    except (ValueError, TypeError) as error:
        state, problem = UNREADABLE, f"{CONFIG} is damaged: {error}"
    else:
        state, problem = UNENDED, "has not ended"
        try:
            ended = read_result(folder)
            if ended is not None and ended.finished and not ended.metrics:
                state, problem = UNREADABLE, f"{RESULT}: damaged (it has no metrics)"
            elif ended is not None:
                result, state, problem = ended, ended.status, _problem(ended)
                figures = ended.figures() if ended.finished else {}
        except InputError as error:
            state, problem = UNREADABLE, str(error).removeprefix(f"{folder}/").partition(";")[0]
    seed = settings.get("seed") if result.seed is None else result.seed
    seed = seed if isinstance(seed, int) else None
    note = settings.get("note", "")
    seen_filter, data = result.data.audit.get("seen_filter"), result.data.fingerprint
    row = {
        "kind": "run",
        "folder": str(folder),
        "folders": (str(folder),),
        "state": state,
        "problem": problem,
        "seed": seed,
        "seeds": () if seed is None else (seed,),
        "note": note if isinstance(note, str) else "",
        "configuration": configuration,
        "data": "" if data is None else f"{data} {seen_filter}",
        "seen_filter": seen_filter,
    }
    return row | {f"{SETTING}{key}": value for key, value in settings.items()} | figures, result


def _problem(result: Result) -> str:
    if result.status == "failed":
        return f"failed: {' '.join((result.error or 'no reason is recorded').split())}"
    if result.status == "pruned":
        epochs = result.training.epochs
        return "pruned" if epochs is None else f"pruned at epoch {epochs}"
    return "index rejected" if result.status == "index_rejected" else ""


def _finite(value: Any) -> Any:
    """Return a setting unchanged, but infinity and NaN as text, which JSON has no number for."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def make_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table: settings keep their types, figures are floats; missing values are None and NaN."""
    columns = dict.fromkeys(column for row in rows for column in row)
    figures = [column for column in columns if is_figure(column)]
    words = [*IDENTITY, *(column for column in columns if column.startswith(SETTING))]
    objects = pd.DataFrame([[row.get(key) for key in words] for row in rows], columns=words, dtype=object)
    numbers = pd.DataFrame([[row.get(key) for key in figures] for row in rows], columns=figures, dtype=float)
    return pd.concat([objects, numbers], axis=1)


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


def shared_folder(folders: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all runs, relative to the working folder if it is below it."""
    shared = Path(*_shared_parts(folders))
    return shared.relative_to(Path.cwd()) if shared.is_relative_to(Path.cwd()) else shared


def _shared_parts(folders: Sequence[Path]) -> list[str]:
    levels = zip(*(folder.resolve().parts[:-1] for folder in folders), strict=False)
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]


def data_difference(run: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how the data of two rows differ; empty if their figures are comparable."""
    if not run["data"] or not other["data"]:
        return "a result does not record its data"
    if run["data"] == other["data"]:
        return ""
    if run["seen_filter"] != other["seen_filter"]:
        seen = f"seen_filter {run['seen_filter']} against {other['seen_filter']}"
        return f"seen items are filtered in one and not in the other ({seen})"
    texts = {
        column.removeprefix(SETTING): (setting_text(run[column]), setting_text(other[column]))
        for column in sorted(run, key=lambda column: None in (run[column], other[column]))
        if column.startswith((f"{SETTING}split", f"{SETTING}data"))
    }
    for part in ("split", "data"):
        for key, (left, right) in texts.items():
            if key.split(".")[0] == part and left != right:
                return f"other {part}: {key} {left} against {right}"
    return "other data: its content has changed"


def largest_group(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with figures on the data that most of them were evaluated on; of equals, the first."""
    ended = runs[runs["state"].isin(MEASURED) & (runs["data"] != "")]
    return ended if ended.empty else ended[ended["data"] == Counter(ended["data"]).most_common(1)[0][0]]


def configuration_rows(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per configuration with the means of its runs that ended, and notes on the other runs.

    A configuration without a run that ended is a row of its first run. Of two runs with the same seed the
    later one counts. Runs on different data are different configurations; a run that has not ended does not
    record its data and joins the first configuration with its settings.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in sorted(records(runs), key=lambda run: run["state"] not in MEASURED):
        key: tuple[str, ...] = run["configuration"], run["data"]
        if run["state"] not in MEASURED:
            key = next((each for each in groups if each[0] == run["configuration"] != ""), (run["folder"],))
        groups.setdefault(key, []).append(run)
    rows, notes = [], []
    for group in groups.values():
        members = list({run["seed"]: run for run in group if run["state"] in MEASURED}.values())
        row = (members or group)[0] | {"kind": "configuration"}
        if len(members) > 1:
            name = without_seed(row["name"]) or row["name"]
            seeds = tuple(run["seed"] for run in members if run["seed"] is not None)
            row |= {"name": f"{name} ({len(members)} seeds)", "seeds": seeds}
            row |= {"folders": tuple(run["folder"] for run in members)}
            # A figure that one of them lacks has no mean.
            row |= {key: sum(run[key] for run in members) / len(members) for key in row if is_figure(key)}
        rows.append(row)
        if members:
            missing = [run for run in group if run["state"] not in MEASURED]
            notes += [f"{run['name']}: {run['problem']}; not in the mean of {row['name']}" for run in missing]
            if repeats := len(group) - len(missing) - len(members):
                notes.append(
                    f"{row['name']}: {repeats} more runs repeat a seed; the latest of each seed counts"
                )
    return make_frame(rows), notes


def baseline_rows(runs: pd.DataFrame, results: Mapping[str, Result]) -> pd.DataFrame:
    """Return a row for each built-in baseline that these runs, all on the same data, recorded.

    All runs on the same data have the same baselines, so the row takes the first run's figures.
    """
    rows: dict[str, dict[str, Any]] = {}
    for run in records(runs[runs["state"].isin(MEASURED)]):
        for name, recorded in results[run["folder"]].baselines.items():
            figures = {key: float(value) for key, value in recorded.items() if is_number(value)}
            # A baseline has no index, so its figures are those of exact search.
            figures |= {exact_key(key): value for key, value in figures.items()}
            row = {column: run[column] for column in IDENTITY} | {"name": name, "kind": "baseline"}
            row |= {"state": "ok", "problem": "", "seed": None, "seeds": (), "note": ""}
            rows.setdefault(name, row | figures)
    return make_frame(list(rows.values()))


def seed_spread(runs: pd.DataFrame, figure: str) -> pd.DataFrame:
    """Return mean, std and count of a figure over the seeds of each configuration with at least two.

    The index has the columns of `GROUP`.
    """
    runs = runs if figure in runs else runs.assign(**{figure: math.nan})
    last = runs.dropna(subset=[figure]).drop_duplicates([*GROUP, "seed"], keep="last")
    spread = last.groupby(GROUP, sort=False)[figure].agg(["mean", "std", "count"])
    return spread[spread["count"] > 1]


def seed_noise(spread: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """Pool the spreads of all configurations on the same data.

    Equal spreads of equal means belong to one training that was indexed several times and count once.

    Returns:
        `data` -> standard deviation of one run over seeds, and how many seeds it is from.
    """
    noise = {}
    for data, group in spread.groupby(level="data", sort=False):
        distinct = group.drop_duplicates()
        freedom = distinct["count"] - 1
        sd = math.sqrt(float((distinct["std"] ** 2 * freedom).sum() / freedom.sum()))
        noise[str(data)] = sd, int(distinct["count"].sum())
    return noise
