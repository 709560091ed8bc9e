"""Runs the baselines over a holdout, with the same evaluator as the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.config.progress import Progress
from twotower.data.dataset import Holdout
from twotower.data.interactions import Interactions
from twotower.evaluation.baselines.baseline import Baseline, BaselineData
from twotower.evaluation.baselines.budget import Budget, OutOfTime
from twotower.evaluation.baselines.list_cache import ListCache
from twotower.evaluation.evaluator import Evaluator, Report
from twotower.evaluation.item_content import item_content
from twotower.evaluation.ranking import item_popularity
from twotower.evaluation.top_k import top_k_of
from twotower.features.feature_table import FeatureTable

OUT_OF_TIME = "did not fit into baselines.minutes; raise that, or leave it out with '~baselines.{}'"


@dataclass(frozen=True)
class BaselineReports:
    """The baselines of a split.

    Attributes:
        reports: name -> report of each baseline that ran.
        skipped: name -> reason of each baseline that did not.
        out_of_time: names of baselines that were skipped for the time limit.
    """

    reports: dict[str, Report]
    skipped: dict[str, str]
    out_of_time: tuple[str, ...] = ()


def run_baselines(
    configs: Mapping[str, Baseline.Config],
    evaluator: Evaluator,
    holdout: Holdout,
    train: Interactions,
    num_items: int,
    kept: ListCache | None = None,
    items: FeatureTable | None = None,
    budget: Budget | None = None,
) -> BaselineReports:
    """Fit each baseline on `train` and evaluate it; raises InputError if a setting does not suit the data.

    Args:
        configs: settings of the baselines by name.
        evaluator: evaluates their lists.
        holdout: the targets.
        train: the training interactions.
        num_items: N.
        kept: what took long is taken from there, but for lists by content.
        items: features of the catalogue, whose content counts as of the items of `train`.
        budget: time for all baselines together; None for no limit.
    """
    popularity = item_popularity(train, num_items)
    content = None
    if items is not None and any(config.reads_content for config in configs.values()):
        content = item_content(items, popularity[1:] > 0)
    past = BaselineData(train, num_items, request_time(holdout, train), content, budget or Budget())
    reports, skipped, out_of_time = {}, {}, []
    for name, config in configs.items():
        if not config.says_something_of(holdout) or (config.reads_content and content is None):
            continue
        if reason := config.skip_reason(num_items):
            skipped[name] = reason
            continue
        recommend = partial(_fitted_top_rows, name, config, evaluator, holdout, past)
        try:
            rows = recommend() if kept is None or config.reads_content else kept.take(config, recommend)
        except OutOfTime:
            skipped[name] = OUT_OF_TIME.format(name)
            out_of_time.append(name)
            continue
        reports[name] = evaluator.evaluate(rows, holdout, popularity)
    return BaselineReports(reports, skipped, tuple(out_of_time))


def request_time(holdout: Holdout, train: Interactions) -> int:
    """Return the cutoff all requests share, else one second after the last train interaction."""
    first, last = holdout.request_times.min(), holdout.request_times.max()
    return int(last) if first == last else int(train.times.max(initial=0)) + 1


def _fitted_top_rows(
    name: str,
    config: Baseline.Config,
    evaluator: Evaluator,
    holdout: Holdout,
    past: BaselineData,
) -> NDArray[np.int64]:
    baseline = config.build()
    try:
        baseline.fit(past)
    except InputError as error:
        raise InputError(f"baselines.{name}.{error}") from error
    num_users = len(holdout.users)
    with Progress(f"baseline {name}: ranking the catalogue for users", num_users) as advance:

        def score(queries: slice) -> torch.Tensor:
            advance(queries.start)
            past.budget.check()
            return torch.from_numpy(baseline.scores(holdout.history, holdout.users[queries]))

        rows, _ = top_k_of(score, num_users, past.num_items, evaluator.max_k, evaluator.excluded(holdout))
    return rows
