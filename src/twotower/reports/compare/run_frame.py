"""Read runs into one table: a row per run, a column per setting and per figure."""

import glob
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.files.plain_values import load_yaml
from twotower.runs.fingerprint import fingerprint, flatten
from twotower.runs.result import Result, load_result
from twotower.runs.run_files import CONFIG, RESULT, runs_below

SETTING = "settings."
"""Prefix of the columns that hold settings; a column with a slash in its name holds a figure."""

IDENTITY = (
    "name",
    "kind",
    "folder",
    "folders",
    "state",
    "problem",
    "seed",
    "seeds",
    "note",
    "configuration",
    "data",
    "seen_filter",
)
UNENDED, UNREADABLE = "unended", "unreadable"
MEASURED = ("ok", "index_rejected")
"""States of runs that have figures."""

ABSENT = "–"


def run_folders(paths: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of all runs at or below these paths or globs, and notes on paths without a run.

    Raises:
        InputError: a path does not exist, a path is a bundle, or no path has a run.
    """
    texts = list(paths)
    by_text = {text: [folder for path in _matching(text) for folder in runs_below(path)] for text in texts}
    notes = [f"{text}: no run is in this folder or below it" for text, below in by_text.items() if not below]
    folders = {folder.resolve(): folder for below in reversed(by_text.values()) for folder in below}
    if not folders:
        raise InputError(
            f"no run found in {', '.join(texts)}: a run is a folder with a {CONFIG}; twotower train makes one"
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
        differ in the seed alone; figures are comparable where `data` and `seen_filter` are equal.
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


def make_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table: settings keep their types, figures are floats; missing values are None and NaN."""
    columns = dict.fromkeys(column for row in rows for column in row)
    settings = [column for column in columns if column.startswith(SETTING)]
    figures = [column for column in columns if is_figure(column)]
    words = [*IDENTITY, *settings]
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


def _read_run(folder: Path) -> tuple[dict[str, Any], Result]:
    row: dict[str, Any] = {"kind": "run", "folder": str(folder), "folders": (str(folder),)}
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
        if (folder / RESULT).is_file():
            try:
                ended = load_result(folder / RESULT)
                if ended.finished and not ended.metrics:
                    raise ValueError("it has no metrics")
                result, state, problem = ended, ended.status, _problem(ended)
                figures = ended.figures() if ended.finished else {}
            except InputError as error:
                state, problem = UNREADABLE, str(error)
            except ValueError as error:
                state, problem = UNREADABLE, f"{RESULT} is damaged: {error}"
    seed = settings.get("seed") if result.seed is None else result.seed
    seed = seed if isinstance(seed, int) else None
    note = settings.get("note", "")
    row |= {
        "state": state,
        "problem": problem,
        "seed": seed,
        "seeds": () if seed is None else (seed,),
        "note": note if isinstance(note, str) else "",
        "configuration": configuration,
        "data": str(result.data.fingerprint),
        "seen_filter": str(result.data.audit.get("seen_filter")),
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
