"""Runs the baselines over a holdout, with the same evaluator as the model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout
from twotower.data.history import History
from twotower.evaluation.baselines.baseline import Baseline
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.top_k import top_k_of


@dataclass(frozen=True)
class BaselineReports:
    """Name -> report of the baselines that ran, name -> reason of those that were skipped."""

    reports: dict[str, Report]
    skipped: dict[str, str]


def run_baselines(
    configs: Mapping[str, Baseline.Config],
    evaluator: Evaluator,
    holdout: Holdout,
    train: History,
    num_items: int,
) -> BaselineReports:
    """Fit each baseline on `train` and evaluate it; an InputError if a setting does not suit the data."""
    popularity = item_popularity(train, num_items)
    reports, skipped = {}, {}
    for name, config in configs.items():
        if not config.says_something_of(holdout):
            continue
        if reason := config.skip_reason(num_items):
            skipped[name] = reason
            continue
        baseline = config.build()
        try:
            baseline.fit(train, num_items, request_time(holdout, train))
        except InputError as error:
            raise InputError(f"baselines.{name}.{error}") from error
        rows = _top_rows(baseline, evaluator, holdout, num_items)
        reports[name] = evaluator.evaluate(rows, holdout, popularity)
    return BaselineReports(reports, skipped)


def request_time(holdout: Holdout, train: History) -> int:
    """Return the cutoff all requests share, else one second after the last train interaction."""
    first, last = holdout.request_times.min(), holdout.request_times.max()
    return int(last) if first == last else int(train.times.max(initial=0)) + 1


def _top_rows(baseline: Baseline, evaluator: Evaluator, holdout: Holdout, num_items: int) -> np.ndarray:

    def score(queries: slice) -> torch.Tensor:
        return torch.from_numpy(baseline.scores(holdout.history, holdout.users[queries]))

    rows, _ = top_k_of(score, len(holdout.users), num_items, evaluator.max_k, evaluator.excluded(holdout))
    return rows
