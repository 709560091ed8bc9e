"""Whether a run's test users are too few to tell its towers from the best baseline."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from twotower.data.detectable import NUM_ERRORS, detectable_difference
from twotower.runs.higher_is_better import higher_is_better
from twotower.runs.result import VALID, Result
from twotower.runs.run_files import PER_USER, PER_USER_BASELINES

LARGEST_SHARE = 1 / 3
"""Of the best baseline's figure: a split that can only show more than this is too small."""


@dataclass(frozen=True)
class DetectableDifference:
    """What difference the test users can show.

    Attributes:
        metric: as `recall_at_20`.
        num_users: of the test split.
        difference: see `detectable_difference`, of the towers and the baseline.
        baseline: the best on the test split; None where none ran: the difference is then from a constant.
        figure: the baseline's, or without one the towers'.
    """

    metric: str
    num_users: int
    difference: float
    baseline: str | None
    figure: float

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than a third of the figure."""
        return self.difference > LARGEST_SHARE * abs(self.figure)

    def __str__(self) -> str:
        metric = self.metric.replace("_at_", "@")
        of = f"the paired difference from {self.baseline}, at" if self.baseline else "the towers' own figure,"
        users, least = f"{self.num_users:,} test users", f"{self.difference:.4f}"
        said = f"{users} can show differences of {least} or more in {metric}"
        return f"{said} ({NUM_ERRORS:g} standard errors of {of} {self.figure:.4f})"

    def plain(self) -> dict[str, Any]:
        """Return the values for `result.json`."""
        return asdict(self)


def measure_detectable_difference(folder: Path, result: Result) -> DetectableDifference | None:
    """Return what the test users of a run can show, by the metric that chose its epoch.

    None where that metric has no value a user, as those of labels.

    Args:
        folder: of the run, with the users' values of towers and baselines.
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
