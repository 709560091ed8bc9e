"""Tables of trainings.yaml, and how all tables run `twotower train` and read its result."""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import yaml
from record import OUTPUTS, ROOT, Figures, Line, Row, Table, markdown

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import compose
from twotower.commands.overrides import validate_overrides
from twotower.config.spec import TARGET
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS
from twotower.experiments.runs.run_files import CONFIG, RESULT
from twotower.files.plain_values import fingerprint_values, load_json, load_yaml

KEPT = re.compile(
    r"(test|valid)/((uncapped_recall|recall|hit_rate|ndcg)_at_(10|20|100)|auc|gauc|log_loss|calibration)"
)
"""Metrics of runs that lines store."""


def train(words: Sequence[str]) -> None:
    """Run `twotower train` in a process of its own."""
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *words]
    subprocess.run(command, check=True, stdout=sys.stderr)


def by_class_name(value: Any) -> Any:
    """Return plain settings with classes by name alone, which are unique: moving a module is no change."""
    if isinstance(value, Mapping):
        return {
            key: each.rpartition(".")[2] if key == TARGET and isinstance(each, str) else by_class_name(each)
            for key, each in value.items()
        }
    return [by_class_name(each) for each in value] if isinstance(value, list | tuple) else value


@cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a training."""
    return compose("train", validate_overrides(words)[1])


def shaping_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without seeds, paths of data, and what does not shape results."""
    found = {
        key: each for key, each in settings.items() if key not in IRRELEVANT_KEYS | SWEEP_ONLY | {"seed"}
    }
    data = {key: each for key, each in found["data"].items() if not key.endswith("path")}
    return dict(by_class_name(found | {"data": data}))


@cache
def _fingerprint(words: tuple[str, ...]) -> str:
    return fingerprint_values(shaping_settings(composed(words)))


def training_fingerprint(row: Row) -> str:
    """Return the fingerprint of the settings of a row that is a training."""
    return _fingerprint(row.words)


def trained(name: str, words: Sequence[str], seed: int, root: Path) -> Path:
    """Train, or continue a training of these settings that was stopped; return the folder of the run.

    Args:
        name: of the row.
        words: of the command.
        seed: of the training.
        root: folder of the table.
    """
    name, root = re.sub(r"[^\w.-]+", "_", name), root / f"seed{seed}"
    for folder in root.glob(f"{name}/*"):
        is_stopped = (folder / CONFIG).is_file() and not (folder / RESULT).is_file()
        if is_stopped and shaping_settings(load_yaml(folder / CONFIG)) == shaping_settings(
            composed(tuple(words))
        ):
            train([f"resume={folder}"])
            return folder
    place = [f"name={name}", f"output_root={root}", f"seed={seed}", "reuse=false", "console=quiet"]
    known = set(root.glob(f"{name}/*/{RESULT}"))
    train([*words, *place])
    (path,) = set(root.glob(f"{name}/*/{RESULT}")) - known
    return path.parent


def figures_of(folder: Path, keep: Iterable[str] = ()) -> Figures:
    """Return what is stored of a run: with split=rolling, the means over its windows."""
    result = load_json(folder / RESULT)
    windows = result.get("windows") or [result]
    names = [each for each in result["baselines"] if all(each in window["baselines"] for window in windows)]
    figures = {
        "data": result["data"]["fingerprint"],
        "run": result["fingerprint"],
        "users": result["data"]["users"],
        "items": result["data"]["items"],
        "interactions": result["data"]["interactions"],
        "evaluated": {split: each["users"] for split, each in result["evaluated"].items()},
        "metrics": _means([window["metrics"] for window in windows]),
        "baselines": {each: _means([window["baselines"][each] for window in windows]) for each in names},
        "tuned": {each: tuning["chosen"] for each, tuning in result.get("baselines_tuning", {}).items()},
        "epochs": result["training"]["epochs"],
        "train_minutes": round(result["timing"]["train_seconds"] / 60, 2),
    }
    if result.get("cold_start"):
        figures["cold_start"] = {key: result["cold_start"][key] for key in ("model", "content", "random")}
    return figures | {key: result[key] for key in keep if key in result}


def _means(windows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = [key for key in windows[0] if KEPT.fullmatch(key)]
    return {key: round(fmean(window[key] for window in windows), 5) for key in keys}


def measure(table: str, keep: Iterable[str], row: Row, seed: int) -> Figures:
    """Train a row; return its figures."""
    return figures_of(trained(row.name, row.words, seed, OUTPUTS / table), keep)


def mean_and_deviation(values: Sequence[float], digits: int = 4) -> str:
    """Return the mean over the seeds, with the standard deviation if there are several."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def figure_at(figures: Mapping[str, Any], prefix: str, column: str) -> float | None:
    """Return a figure by its path, whose parts are separated by slashes: keys of metrics contain one."""
    try:
        place: Any = figures
        for key in prefix.split("/"):
            place = place[key]
        for key in [column] if column in place else column.split("/"):
            place = place[key]
        return float(place)
    except KeyError:
        return None


def show(entry: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """Return the table of an entry: means and standard deviations over the seeds."""
    rows: list[tuple[str, str, Sequence[Line]]] = [
        (name, entry["prefix"], [line for line in lines if line.row == name]) for name in entry["rows"]
    ]
    rows += [(name, prefix, lines) for name, prefix in entry.get("also", {}).items()]
    cells = []
    for name, prefix, of_row in rows:
        found = {"": name, "seeds": str(len({line.seed for line in of_row}))}
        for column in entry["columns"]:
            values = [figure_at(line.figures, prefix, column) for line in of_row]
            known = [each for each in values if each is not None]
            found[column] = mean_and_deviation(known) if known else "-"
        cells.append(found)
    return markdown(pd.DataFrame(cells))


def _rows(entry: Mapping[str, Any]) -> list[Row]:
    words = tuple(entry.get("words", "").split())
    seeds, minutes = tuple(entry.get("seeds", (42,))), float(entry.get("minutes", 1))
    return [Row(name, (*words, *own.split()), seeds, minutes) for name, own in entry["rows"].items()]


def _table(name: str, entry: Mapping[str, Any]) -> Table:
    return Table(
        page=entry["page"],
        rows=partial(_rows, entry),
        measure=partial(measure, name, entry.get("keep", ())),
        show=partial(show, entry),
        settings=training_fingerprint,
        command="twotower train",
    )


ENTRIES: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
TABLES = {name: _table(name, entry) for name, entry in ENTRIES.items()}
