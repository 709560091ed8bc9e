"""The lines of `leaderboard.py`: what is kept of a run, read off its folder."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.config.errors import InputError
from twotower.data.download import DATA_VARIABLE
from twotower.files.plain_values import fingerprint_values, load_yaml
from twotower.runs.fingerprint import IRRELEVANT_KEYS
from twotower.runs.result import Result, read_result
from twotower.runs.run_files import CONFIG

Line = dict[str, Any]
OF_THE_ROW = ("experiment", "recipe", "data", "seed")
LEFT_OUT = "new_items."  # of the towers' weights: fitted in closed form after training
TOLD = re.compile(r"(test|valid)/(uncapped_recall|recall|hit_rate|ndcg)_at_(10|20)")
COLD = tuple(
    f"cold_start/{whom}/recall_at_20" for whom in ("model/cold", "content/cold", "model/warm", "model/all")
)


def recipe_of(settings: Mapping[str, Any]) -> str:
    """Return what is equal for the seeds of one recipe, wherever its data lies."""
    apart = IRRELEVANT_KEYS | SWEEP_ONLY | {"seed", "data"}
    return fingerprint_values({key: value for key, value in settings.items() if key not in apart})


def line_of(folder: Path, experiment: str | None = None) -> Line:
    """Return what is kept of a run that has ended well.

    Raises:
        InputError: it has not, or does not say which experiment it is of.
    """
    result = read_result(folder)
    if result is None or not result.finished or not result.metrics:
        raise InputError(f"{folder}: no run that has ended with metrics")
    if result.training_reused_from is not None:
        raise InputError(f"{folder}: its towers are of {result.training_reused_from}; add that run")
    named = [text.partition("=")[2] for text in result.overrides if text.startswith("experiment=")]
    if experiment is None and not named:
        raise InputError(f"{folder}: says no experiment=; name the row with --as")
    machine, code = result.provenance.machine, result.provenance.code
    return {
        "experiment": experiment or named[-1],
        "seed": result.seed,
        "figures": {key: round(value, 5) for key, value in _told(result).items()},
        "monitor": result.training.monitor,
        "epochs": result.training.epochs,
        "train_minutes": round(result.timing["train_seconds"] / 60, 2),
        "minutes": round(result.timing["total_seconds"] / 60, 2),
        "parameters": num_parameters(folder),
        "index_recall": round(result.index["recall_at_100"], 4),
        "machine": {key: machine.get(key) for key in ("cpu", "cores", "threads")},
        "commit": code.get("commit"),
        "command": command_of(result.overrides),
        "fingerprint": result.fingerprint,
        "data": result.data.fingerprint,
        "recipe": recipe_of(dict(load_yaml(folder / CONFIG))),
    }


def _told(result: Result) -> dict[str, float]:
    figures = result.figures()
    wanted = [key for key in figures if TOLD.fullmatch(key)]
    return {key: figures[key] for key in [*wanted, *COLD] if key in figures}


def num_parameters(folder: Path) -> int:
    """Return how many floating-point numbers the towers are, without what is fitted for new items."""
    with safe_open(folder / "bundle" / "towers.safetensors", "np") as file:
        slices = {name: file.get_slice(name) for name in file.keys() if not name.startswith(LEFT_OUT)}  # noqa: SIM118
    sizes = {name: each.get_shape() for name, each in slices.items() if "F" in each.get_dtype()}
    return sum(math.prod(shape) for shape in sizes.values())


def command_of(overrides: Sequence[str]) -> str:
    """Return the command of a run, without where this machine keeps what."""
    folder = os.environ.get(DATA_VARIABLE)
    kept = [text for text in overrides if text.partition("=")[0] not in IRRELEVANT_KEYS | {"seed"}]
    if folder:
        kept = [text.replace(folder.rstrip("/"), f"${DATA_VARIABLE}") for text in kept]
    return " ".join(["twotower train", *kept])


def read(path: Path) -> list[Line]:
    """Return the lines that are kept; of the same row, recipe, data and seed the latest."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines() if text]
    return list({tuple(line[key] for key in OF_THE_ROW): line for line in lines}.values())


def keep(line: Line, path: Path) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
