"""The towers of a run against its baselines: whether one is better, and which differences users can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from twotower.data.audit import NUM_ERRORS
from twotower.runs.fingerprint import flatten
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES

LARGEST_SHARE = 1 / 3
"""A split is too small if its detectable difference is above this share of the best baseline's metric."""
FIRST_LOOK = "sweep=first_look, which compares recipes of other kinds"


def worse_than_baseline(result: Result) -> tuple[str, str] | None:
    """Return the best baseline on the validation split and a warning if it is better than the towers.

    None otherwise, and if the baselines have no value of the metric (label metrics) or the towers were not
    validated.
    """
    key = result.training.monitor
    value = result.metrics.get(key)
    baselines = {name: values[key] for name, values in result.baselines.items() if key in values}
    if value is None or not baselines:
        return None
    sign = -1 if higher_is_better(key, [result.higher_is_better]) is False else 1
    best = max(baselines, key=lambda name: sign * baselines[name])
    if sign * baselines[best] <= sign * value:
        return None
    metric = key.removeprefix(VALID).replace("_at_", "@")
    return best, (
        f"on the validation split the baseline {best} is better than the towers: {metric} "
        f"{baselines[best]:.4f} against {value:.4f}"
    )


def suggestion(overrides: str, settings: Mapping[str, Any]) -> str:
    """Return what to try: a first look at other recipes, then the overrides that are not set yet.

    Args:
        overrides: overrides that may help, separated by spaces.
        settings: of the run.
    """
    current = flatten(settings)

    def is_set(key: str, value: str) -> bool:
        return str(current.get(key)).lower() in (value, value.replace("_", ""))  # the latter is a class

    untried = [text for text in overrides.split() if not is_set(*text.split("=", 1))]
    return ", or ".join(filter(None, [FIRST_LOOK, " ".join(untried)]))


@dataclass(frozen=True)
class DetectableDifference:
    """The smallest difference that the test users can detect.

    Attributes:
        metric: as `recall_at_20`.
        num_users: of the test split.
        difference: see `detectable_difference`, of the towers and the baseline.
        baseline: the best on the test split; None if no baseline ran.
        figure: the metric of the baseline, or of the towers if no baseline ran.
    """

    metric: str
    num_users: int
    difference: float
    baseline: str | None
    figure: float

    @property
    def is_too_large(self) -> bool:
        """Whether the difference is more than a third of the metric."""
        return self.difference > LARGEST_SHARE * abs(self.figure)

    def __str__(self) -> str:
        metric = self.metric.replace("_at_", "@")
        of = f"the paired difference from {self.baseline}, at" if self.baseline else "the towers' value,"
        return (
            f"{self.num_users:,} test users can detect differences of {self.difference:.4f} or more "
            f"in {metric} ({NUM_ERRORS:g} standard errors of {of} {self.figure:.4f})"
        )


def measure_detectable_difference(folder: Path, result: Result) -> DetectableDifference | None:
    """Return the smallest difference in the monitored metric that the test users can detect.

    None if the metric has no values per user (label metrics).

    Args:
        folder: of the run, with the values per user of towers and baselines.
        result: of the run.
    """
    metric = result.training.monitor.removeprefix(VALID)
    tables = [folder / PER_USER, folder / PER_USER_BASELINES]
    if not all(map(Path.is_file, tables)):
        return None
    towers, baselines = map(pd.read_parquet, tables)
    if metric not in towers or towers.empty:
        return None
    ours = towers.set_index("user_id")[metric]
    if metric not in baselines or baselines.empty:
        difference = detectable_difference((ours - ours.mean()).to_numpy())
        return DetectableDifference(metric, len(ours), difference, None, float(ours.mean()))
    means = baselines.groupby("baseline")[metric].mean()
    lower = higher_is_better(metric, [result.higher_is_better]) is False
    best = str(means.idxmin() if lower else means.idxmax())
    theirs = baselines[baselines["baseline"] == best].set_index("user_id")[metric].reindex(ours.index)
    difference = detectable_difference((ours - theirs).to_numpy())
    return DetectableDifference(metric, len(ours), difference, best, float(means[best]))


def detectable_difference(differences: np.ndarray) -> float:
    """Return 2.8 standard errors of the mean of paired differences, one a user, [Q].

    Two users are added whose differences are the largest possible of either sign (1, or the largest of the
    values if that is more): three equal values show nothing, though their standard deviation is 0.

    Reference: Agresti and Coull, Approximate is better than "exact" for interval estimation of binomial
    proportions, The American Statistician 1998 (the added observations).
    """
    largest = max(1.0, float(np.abs(differences).max(initial=0)))
    values = np.append(differences, (-largest, largest))
    return float(NUM_ERRORS * values.std() / np.sqrt(len(values)))
