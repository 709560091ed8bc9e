"""The ledger of looks at test splits, and the expected optimism of the best of many configurations.

A look is an evaluation of towers on the targets of a test split. Baselines are no looks.
"""

import datetime
import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.experiments.runs.fingerprint import EVALUATION_KEYS, configuration_fingerprint, flatten
from twotower.experiments.runs.higher_is_better import higher_is_better
from twotower.experiments.runs.result import TEST, VALID, Result
from twotower.experiments.runs.result_parts import ResultPart, SplitLooks
from twotower.experiments.runs.run import Run
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES
from twotower.experiments.runs.tower_origin import configuration_settings
from twotower.files.lock import lock_folder

LOG = logging.getLogger("twotower")
LEDGER = "test_ledger.jsonl"
PATIENCE_SECONDS = 60.0
"""Time to wait for other processes that append."""


class Look(ResultPart):
    """One line of the ledger.

    Attributes:
        data: fingerprint of content and split.
        run: folder of the run, relative to the folder of the ledger.
    """

    time: str
    data: str
    source: str
    split: str
    configuration: str
    seed: int | None
    run: str
    metric: str
    figures: dict[str, float]
    standard_error: float | None


def add_look(root: Path, run: Run, result: Result) -> SplitLooks | None:
    """Append the look of a run that looked at its test split; log and return the looks at this split so far.

    A run that was killed after its look and is resumed adds no second line. The ledger is in the output root;
    the ledger of a run outside, as one that was moved, is the nearest one above it, or next to it.
    """
    root, folder = root.resolve(), run.folder.resolve()
    path = root / LEDGER
    if root not in folder.parents:
        path = find_ledger(folder) or folder.parent / LEDGER
    data, metric = str(result.data.fingerprint), result.training.monitor.replace(VALID, f"{TEST}/", 1)
    configuration = _configuration(run, result)
    try:
        with lock_folder(path.parent / ".cache", "test_ledger", PATIENCE_SECONDS):
            looks = read_looks(path)
            if run.looked_at_test:
                higher = higher_is_better(metric, [result.higher_is_better])
                settings, figures = flatten(run.settings), result.final_figures()
                look = Look(
                    time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    data=data,
                    source=str(settings["data"]),
                    split=str(settings["split"]),
                    configuration=configuration,
                    seed=result.seed,
                    run=os.path.relpath(folder, path.parent),
                    metric=metric,
                    figures={key: value for key, value in figures.items() if key.startswith(TEST)},
                    standard_error=standard_error(run.folder, metric.removeprefix(f"{TEST}/"), higher),
                )
                if not any(each == look.model_copy(update={"time": each.time}) for each in looks):
                    _append(path, look)
                    looks.append(look)
    except (OSError, InputError) as error:
        LOG.warning(
            "%s: the looks at the test split cannot be counted (%s); make the file usable, then "
            "twotower evaluate run=%s adds this look",
            *(path, error, shlex.quote(str(run.folder))),
        )
        return None
    found = count_looks(looks, data, metric)
    if others := {each.configuration for each in looks if each.data == data} - {configuration}:
        number = "1 configuration" if len(others) == 1 else f"{len(others)} configurations"
        LOG.info("test split: %s looked at it before%s", number, found.consequence)
    return found


def find_ledger(folder: Path) -> Path | None:
    """Return the nearest ledger above a folder."""
    return next(filter(Path.is_file, (parent / LEDGER for parent in folder.resolve().parents)), None)


def read_looks(path: Path) -> list[Look]:
    """Return the looks in a ledger; a damaged line, as a kill may leave, is skipped with a warning."""
    looks = []
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.is_file() else [], 1):
        try:
            looks += [Look.model_validate_json(line)] if line.strip() else []
        except ValueError:
            LOG.warning("%s: line %d is damaged and is not counted; delete the line", path, number)
    return looks


def look_notes(folders: Iterable[str], results: Iterable[Result]) -> Iterator[str]:
    """Yield a note for each test split of ended runs that several configurations looked at."""
    paths = (find_ledger(Path(folder)) for folder in folders)
    for path, data in dict.fromkeys(zip(paths, (each.data.fingerprint for each in results), strict=True)):
        looks = [each for each in read_looks(path) if each.data == data] if path else []
        found = count_looks(looks, looks[0].data, looks[-1].metric) if looks else None
        if found is not None and found.configurations > 1:
            split = f"test split {looks[0].data[:8]} ({looks[0].source}, {looks[0].split})"
            counts = f"{found.configurations} configurations looked at it ({found.looks} looks)"
            yield f"{split}: {counts}{found.consequence}"


def count_looks(looks: Sequence[Look], data: str, metric: str) -> SplitLooks:
    """Count the looks at one test split, with the expected optimism of the best configuration in a metric.

    It is the expected maximum of as many standard normal variables, times the median standard error.
    """
    here = {(each.configuration, each.seed): each for each in looks if each.data == data}
    configurations = len({configuration for configuration, _ in here})
    errors = [each.standard_error for each in here.values() if each.metric == metric]
    known = [error for error in errors if error is not None]
    optimism = expected_maximum(configurations) * median(known) if known else None
    return SplitLooks(configurations=configurations, looks=len(here), metric=metric, optimism=optimism)


def expected_maximum(count: int) -> float:
    """Return the expected maximum of independent standard normal variables, by numeric integration.

    It is the integral of 1 - F(x)^count - F(-x)^count over x > 0, with the normal distribution function F.
    """
    if count < 2:
        return 0.0
    from scipy.integrate import quad
    from scipy.special import ndtr

    return float(quad(lambda x: 1 - ndtr(x) ** count - ndtr(-x) ** count, 0, np.inf)[0])


def standard_error(folder: Path, metric: str, higher: bool | None) -> float | None:
    """Return the standard error of a configuration's figure relative to others.

    Configurations are measured on the same users, so what users have in common does not change their order. A
    paired difference has the errors of two, so one has its standard error / sqrt(2). The other one is
    the best baseline. Without baselines, it is the standard error of the mean, an upper bound. It is None if
    users have no values of the metric.
    """
    towers, baselines = (pd.read_parquet(folder / name) for name in (PER_USER, PER_USER_BASELINES))
    if metric not in towers or len(towers) < 2:
        return None
    values, share = towers.set_index("user_id")[metric], 1.0
    if metric in baselines and not baselines.empty:
        by_user = baselines.pivot(index="user_id", columns="baseline", values=metric)
        means = by_user.mean()
        best = means.idxmin() if higher is False else means.idxmax()
        values, share = values - by_user[best], 0.5
    return float(np.sqrt(share * values.var() / len(values)))


def reveal_command(folder: Path, result: Result) -> str:
    """Return the command that evaluates a run with a hidden test split on it, by the run with its bundle."""
    run = folder if (folder / "bundle").is_dir() else result.training_reused_from
    return f"twotower evaluate run={shlex.quote(str(run))} test=reveal"


def _configuration(run: Run, result: Result) -> str:
    """Return the fingerprint of a configuration, however it is measured: other metrics are the same one."""
    settings = configuration_settings(run.folder, run.settings, result)
    shaping = {key: value for key, value in settings.items() if key not in EVALUATION_KEYS}
    return configuration_fingerprint(shaping, result.data.identity)


def _append(path: Path, look: Look) -> None:
    """Append a line in one write, after the end of a line that a killed process left incomplete."""
    is_torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("ab") as file:
        file.write(b"\n" * is_torn + look.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
