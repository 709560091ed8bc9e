"""Quality of towers: metrics on the splits, of the baselines, and for items held out of training."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.baselines.baseline import BaselineData, Budget
from twotower.evaluation.baselines.baseline_runner import (
    BaselineCache,
    BaselineReports,
    BaselineRunner,
    request_time,
)
from twotower.evaluation.baselines.tuning import log_tuning, tune
from twotower.evaluation.cold_start import cold_start
from twotower.evaluation.evaluate_towers import evaluate_towers
from twotower.evaluation.evaluator import Report
from twotower.evaluation.indexing import evaluate_index
from twotower.experiments.runs import sections
from twotower.experiments.runs.baseline_comparison import measure_power, report_power
from twotower.experiments.runs.higher_is_better import higher_is_better
from twotower.experiments.runs.result import TEST_EXACT, Result
from twotower.experiments.runs.result_parts import Power
from twotower.experiments.runs.run_files import PER_USER, PER_USER_BASELINES
from twotower.index.index import Index
from twotower.jobs.open_run import has_held_out_items
from twotower.jobs.run_context import Quality, RunContext, ValidatedBaselines
from twotower.model.features.feature_table import FeatureTable
from twotower.model.towers.two_tower import TwoTower
from twotower.training.train_towers import TrainedTowers

LOG = logging.getLogger("twotower")
EXACT_PREFIX = f"{TEST_EXACT}/"


def measure_quality(job: RunContext, towers: TrainedTowers) -> Quality:
    """Return the quality of towers by exact search, which an equal run may have measured."""
    return job.reused_quality or evaluate_on_test(job, towers.model, towers.valid, towers.temperature)


def evaluate_on_test(job: RunContext, model: TwoTower, valid: Report | None, temperature: float) -> Quality:
    """Evaluate towers by exact search on the test split, unless it is hidden; `valid`: on validation."""
    dataset, holdout = job.dataset, job.look_at_test()
    if holdout is None:
        return Quality(sections.quality_record(valid, None), None)
    test = evaluate_towers(model, holdout, job.evaluator, dataset.train_and_valid, temperature)
    return Quality(sections.quality_record(valid, test), _with_user_ids(test, dataset))


def validate_baselines(job: RunContext, items: FeatureTable) -> ValidatedBaselines:
    """Tune the baselines and run them on the validation split, fitted on train, in half of their time.

    It needs no towers and reads nothing of the test split.
    """
    baselines, budget = job.config.baselines, Budget(60 * job.config.baselines.minutes)
    metric = job.evaluator.config.list_metric(job.config.trainer.monitor) if baselines.tune else None
    runner = _baseline_runner("valid", job, items, budget.half(), is_tuning=metric is not None)
    if metric is None:
        reports = runner.run(baselines.by_name)
    else:
        reports = tune(runner, baselines.by_name, metric)
        log_tuning(reports, metric, baselines.minutes)
    for name in sorted(reports.skipped.keys() - set(reports.out_of_time)):
        LOG.info("baseline %s left out: %s", name, reports.skipped[name])
    return ValidatedBaselines(reports, budget.left(), _measure_power(job, reports.reports))


def _measure_power(job: RunContext, reports: Mapping[str, Report]) -> dict[str, Power]:
    """Return and print the differences of the monitored metric that the splits can show."""
    metric = job.config.trainer.monitor.rpartition("/")[2]
    tables = {name: report.per_user for name, report in reports.items()}
    values = {name: table[metric].to_numpy() for name, table in tables.items() if metric in table}
    num_users = {"valid": len(job.dataset.valid.users), "test": len(job.dataset.test.request_times)}
    higher = higher_is_better(metric, [job.run.partial_result.higher_is_better])
    power = measure_power(metric, values, num_users, higher)
    report_power(power, metric, bool(reports), job.config.split.size_settings)
    return power


def evaluate_baselines(job: RunContext, items: FeatureTable) -> dict[str, Any]:
    """Run the baselines on the test split, store their values per user, and return their part of the result.

    They are fitted on train and validation. Those that exceeded the time on the validation split are skipped.
    Reused quality has their figures already.
    """
    if job.reused_quality is not None:
        return {}
    valid = job.validated_baselines or validate_baselines(job, items)
    dataset, minutes, test = job.dataset, job.config.baselines.minutes, BaselineReports({}, {}, {})
    before = valid.baselines
    if not job.config.is_test_hidden:
        configs = {name: each for name, each in before.configs.items() if name not in before.out_of_time}
        test = _baseline_runner("test", job, items, Budget(valid.seconds_left)).run(configs)
    if late := [*before.out_of_time, *test.out_of_time]:
        LOG.warning(
            "baselines that did not fit into baselines.minutes=%g: %s; raise it, or leave them out "
            "('~baselines.%s')",
            *(minutes, ", ".join(late), late[0]),
        )
    record = sections.baselines_record(before, test)
    record |= {"baselines_tuning": dict(before.tuning), "power": valid.power}
    if job.config.is_test_hidden:
        return record
    per_user = [
        _with_user_ids(report, dataset).assign(baseline=name) for name, report in test.reports.items()
    ]
    none = job.tables[PER_USER].head(0).assign(baseline="")
    job.tables[PER_USER_BASELINES] = pd.concat(per_user or [none], ignore_index=True)
    return record


def _baseline_runner(
    split: Literal["valid", "test"],
    job: RunContext,
    items: FeatureTable,
    budget: Budget,
    is_tuning: bool = False,
) -> BaselineRunner:
    """Return the runner of baselines that are fitted on the interactions before a split."""
    dataset, evaluator = job.dataset, job.evaluator
    train, holdout = (
        (dataset.train, dataset.valid) if split == "valid" else (dataset.train_and_valid, dataset.test)
    )
    now = request_time(holdout, train)
    past = BaselineData(train, len(dataset.items), now, items, budget, is_tuning)
    key = (dataset.fingerprint, split, evaluator.max_k, evaluator.config.filter_seen)
    cache = Path(job.config.output_root) / ".cache" / "baselines" / dataset.fingerprint
    folder = cache if job.config.cache else None
    return BaselineRunner(past, holdout, evaluator, BaselineCache(folder, key))


def read_quality(job: RunContext, source: Path, before: Result) -> Quality | None:
    """Read the quality of these towers and the baselines' values per user from another run, if possible."""
    tables = [source / PER_USER, source / PER_USER_BASELINES]
    if not all(map(Path.is_file, tables)):
        return None
    try:
        per_user = pd.read_parquet(source / PER_USER, page_checksum_verification=True)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        LOG.warning("%s is damaged (%s); its metrics are computed again", source / PER_USER, error)
        return None
    job.run.copy_table(source, PER_USER_BASELINES)
    metric = job.config.trainer.monitor.rpartition("/")[2]
    report_power(before.power, metric, bool(before.baselines), job.config.split.size_settings)
    names = map(str, per_user.columns)
    exact = {name: name.removeprefix(EXACT_PREFIX) for name in names if name.startswith(EXACT_PREFIX)}
    per_user = per_user.drop(columns=[*exact.values()]).rename(columns=exact)
    return Quality(sections.by_exact_search(before.plain(*sections.QUALITY)), per_user)


def through_index(job: RunContext, model: TwoTower, index: Index, exact: Quality) -> dict[str, Any]:
    """Return the quality with the test metrics of the lists that an index serves; values per user are stored.

    If the index is not exact, columns with the prefix `test_exact/` have the values of exact search. An exact
    index serves the lists of exact search, so it is not searched.
    """
    per_user, served = exact.per_user, None
    if per_user is None:  # the test split is hidden
        return dict(exact.record)
    if not index.is_exact and (holdout := job.look_at_test()) is not None:
        dataset = job.dataset
        served = evaluate_index(model, index, holdout, job.evaluator, dataset.train_and_valid)
        by_exact_search = per_user.drop(columns="user_id").add_prefix(EXACT_PREFIX)
        per_user = pd.concat([_with_user_ids(served, dataset), by_exact_search], axis=1)
    job.tables[PER_USER] = per_user
    return sections.through_index(exact.record, served)


def measure_cold_start(job: RunContext, model: TwoTower) -> dict[str, Any]:
    """Return the part `cold_start` of the result; empty if the split holds no items out or is hidden."""
    if job.config.is_test_hidden or not has_held_out_items(job.dataset):
        return {}
    return {"cold_start": cold_start(model, job.config.index, job.dataset, job.evaluator)}


def _with_user_ids(report: Report, dataset: RetrievalDataset) -> pd.DataFrame:
    rows = report.per_user["user"].to_numpy()
    table = report.per_user.drop(columns="user")
    table.insert(0, "user_id", np.asarray(dataset.users.ids(rows)))
    return table
