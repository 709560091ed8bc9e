"""The smallest difference between two models that the test users of a run can detect."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from twotower.data.audit import NUM_ERRORS
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES

LARGEST_SHARE = 1 / 3
"""A split is too small if its detectable difference is above this share of the best baseline's metric."""


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
