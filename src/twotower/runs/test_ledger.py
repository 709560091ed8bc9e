"""The ledger of looks at test splits, and the optimism that comes from choosing the best of many.

A look is an evaluation of towers on the targets of a test split. Baselines are no looks.
"""

import datetime
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

from twotower.config.errors import InputError
from twotower.files.lock import lock_folder
from twotower.runs.fingerprint import flatten
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import TEST, TEST_EXACT, VALID, Result, ResultPart
from twotower.runs.run import Run
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES

LOG = logging.getLogger("twotower")
LEDGER = "test_ledger.jsonl"
PATIENCE_SECONDS = 60.0
"""Time to wait for other processes that append."""


class Look(ResultPart):
    """One line of the ledger.

    Attributes:
        time: when, in UTC.
        data: `Data.fingerprint` of the result: of content and split.
        source: class of `data`; `split` is that of the split.
        configuration: `Result.configuration`, which ignores the seed.
        run: folder of the run, relative to that of the ledger.
        metric: the monitored metric, of the test split.
        figures: the test metrics at its k.
        standard_error: see `standard_error`.
        paired: False if the standard error is only an upper bound.
    """

    time: str
    data: str
    source: str
    split: str
    configuration: str
    seed: int
    run: str
    metric: str
    figures: dict[str, float]
    standard_error: float | None
    paired: bool


@dataclass(frozen=True)
class SplitLooks:
    """The looks at one test split so far.

    Attributes:
        configurations: number of configurations.
        looks: number of configurations and seeds; a repetition is the same look.
        metric: the monitored metric, of the test split.
        optimism: expected excess of the best of so many equally good configurations over its true value;
            None if users have no values of the metric.
    """

    configurations: int
    looks: int
    metric: str
    optimism: float | None

    def text(self, higher: bool | None) -> str:
        """Return the expected optimism in words; empty if it is unknown or without a choice."""
        if self.optimism is None or self.configurations < 2:
            return ""
        way = "low" if higher is False else "high"
        metric = self.metric.removeprefix(f"{TEST}/").replace("_at_", "@")
        return (
            f"; the best of {self.configurations} is expected to be {self.optimism:.4f} too {way} in {metric}"
        )


def add_look(root: Path, run: Run, result: Result) -> SplitLooks | None:
    """Append the look of a run, if it looked at its test split; log and return the looks so far.

    A run that was killed after its look and is resumed adds no second line. Returns None if the ledger cannot
    be used.

    Args:
        root: folder of all runs.
        run: at its end.
        result: of the run, which is not written yet.
    """
    path, data = root / LEDGER, result.data.fingerprint
    assert data is not None
    assert result.configuration is not None
    metric = result.training.monitor.replace(VALID, f"{TEST}/", 1)
    try:
        with lock_folder(root / ".cache", "test_ledger", PATIENCE_SECONDS):
            looks = read_looks(path)
            if run.looked_at_test:
                look = _make_look(root, run, result, metric)
                same = {"run", "data", "configuration", "seed"}
                if not any(each.model_dump(include=same) == look.model_dump(include=same) for each in looks):
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
    before = len({each.configuration for each in looks if each.data == data} - {result.configuration})
    noun = f"{before or 'no other'} configuration{'s' if before > 1 else ''}"
    text = found.text(higher_is_better(metric, [result.higher_is_better]))
    LOG.info("test split: %s looked at it before%s", noun, text)
    return found


def read_looks(path: Path) -> list[Look]:
    """Return the looks in a ledger; a damaged line, as after a kill, is skipped with a warning."""
    looks = []
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.is_file() else [], 1):
        if not line.strip():
            continue
        try:
            looks.append(Look.model_validate_json(line))
        except ValueError:
            LOG.warning("%s: line %d is damaged and is not counted; delete the line", path, number)
    return looks


def find_ledger(run: Path) -> Path | None:
    """Return the ledger above the folder of a run."""
    paths = (parent / LEDGER for parent in run.resolve().parents)
    return next(filter(Path.is_file, paths), None)


def count_looks(looks: Sequence[Look], data: str, metric: str) -> SplitLooks:
    """Count the looks at one test split, and return the expected optimism of the best configuration.

    The standard error is the median over the looks by this metric.
    """
    here = [each for each in looks if each.data == data]
    configurations = len({each.configuration for each in here})
    errors = [
        each.standard_error for each in here if each.metric == metric and each.standard_error is not None
    ]
    optimism = expected_maximum(configurations) * median(errors) if errors else None
    num_looks = len({(each.configuration, each.seed) for each in here})
    return SplitLooks(configurations, num_looks, metric, optimism)


def expected_maximum(count: int) -> float:
    """Return the expected maximum of independent standard normal variables, by numeric integration.

    It is the integral of 1 - F(x)^count - F(-x)^count over x > 0 with F, the normal distribution function.
    """
    if count < 2:
        return 0.0
    from scipy.integrate import quad
    from scipy.special import ndtr

    return float(quad(lambda x: 1 - ndtr(x) ** count - ndtr(-x) ** count, 0, np.inf)[0])


def standard_error(folder: Path, metric: str, higher: bool | None) -> tuple[float | None, bool]:
    """Return the standard error of a configuration's figure relative to other ones, and whether it is paired.

    Two configurations are measured on the same users, so what users have in common does not change their
    order. The paired difference has the errors of both, so that of one is its standard error / sqrt(2). The
    other configuration is the best baseline. Without a baseline, it is the standard error of the mean, an
    upper bound. None if users have no values of the metric.

    Args:
        folder: of the run, with the values per user.
        metric: as `recall_at_20`.
        higher: whether higher values are better.
    """
    towers, baselines = (pd.read_parquet(folder / name) for name in (PER_USER, PER_USER_BASELINES))
    if metric not in towers or len(towers) < 2:
        return None, False
    ours = towers.set_index("user_id")[metric]
    if metric not in baselines or baselines.empty:
        return float(ours.std() / np.sqrt(len(ours))), False
    means = baselines.groupby("baseline")[metric].mean()
    best = means.idxmin() if higher is False else means.idxmax()
    theirs = baselines[baselines["baseline"] == best].set_index("user_id")[metric].reindex(ours.index)
    differences = (ours - theirs).to_numpy()
    return float(differences.std(ddof=1) / np.sqrt(2 * len(differences))), True


def reveal_command(folder: Path, result: Result) -> str:
    """Return the command that evaluates a run with a hidden test split on it; the run has the bundle."""
    has_bundle = (folder / "bundle").is_dir() or result.training_reused_from is None
    run = str(folder) if has_bundle else str(result.training_reused_from)
    return f"twotower evaluate run={shlex.quote(run)} test=reveal"


def _make_look(root: Path, run: Run, result: Result, metric: str) -> Look:
    higher = higher_is_better(metric, [result.higher_is_better])
    error, paired = standard_error(run.folder, metric.removeprefix(f"{TEST}/"), higher)
    settings, figures = flatten(run.settings), result.final_figures()
    values = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "data": result.data.fingerprint,
        "source": settings["data"],
        "split": settings["split"],
        "configuration": result.configuration,
        "seed": result.seed,
        "run": os.path.relpath(run.folder, root),
        "metric": metric,
        "figures": {key: value for key, value in figures.items() if key.split("/")[0] in (TEST, TEST_EXACT)},
        "standard_error": error,
        "paired": paired,
    }
    return Look.model_validate(values)


def _append(path: Path, look: Look) -> None:
    """Append a line in one write, after the end of a line that a killed process left incomplete."""
    with path.open("ab+") as file:
        is_torn = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            is_torn = file.read(1) != b"\n"
        file.write(b"\n" * is_torn + look.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
