"""A run in progress: its folder, its settings, its data, and what its steps hand to one another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.evaluation.baselines.baseline_runner import BaselineReports
from twotower.evaluation.evaluator import Evaluator
from twotower.experiments.console.console import Console
from twotower.experiments.runs.result_parts import Power
from twotower.experiments.runs.run import Run
from twotower.experiments.tensorboard.tensorboard_run import TensorBoardRun
from twotower.jobs.run_config import RunConfig
from twotower.training.tracker import Tracker


class Quality(NamedTuple):
    """Quality by exact search: parts of the result, and the values of each test user (None if hidden)."""

    record: Mapping[str, Any]
    per_user: pd.DataFrame | None


class ValidatedBaselines(NamedTuple):
    """The baselines after validation, with the settings chosen there.

    Attributes:
        seconds_left: for the test split.
        power: differences that the splits can show.
    """

    baselines: BaselineReports
    seconds_left: float
    power: Mapping[str, Power]


@dataclass
class OpenRun:
    """A locked run folder with its typed settings, and where the run is shown."""

    run: Run
    config: RunConfig
    board: TensorBoardRun
    tracker: Tracker
    console: Console


@dataclass
class RunContext(OpenRun):
    """An open run with its data set.

    Attributes:
        tables: values per user by file; written when the ledger counts the look, not before.
        reused_quality: of the towers, as an equal run has measured it.
        validated_baselines: if they were run before the towers were trained.
    """

    dataset: RetrievalDataset
    evaluator: Evaluator
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    reused_quality: Quality | None = None
    validated_baselines: ValidatedBaselines | None = None

    def look_at_test(self) -> Holdout | None:
        """Return the test split and note that the run looked at its targets; None with `test=hidden`."""
        if self.config.is_test_hidden:
            return None
        self.run.looked_at_test = True
        return self.dataset.test
