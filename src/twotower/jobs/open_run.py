"""Open the folder of a run, and read, split and check its data."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twotower.config.errors import InputError
from twotower.config.problems import raise_problems
from twotower.data.audit import WARNING, audit_summary, audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import RetrievalDataset
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import metric_data
from twotower.experiments.console.console_tables import make_table, plain_text
from twotower.experiments.console.rich import make_console
from twotower.experiments.runs import sections
from twotower.experiments.runs.fingerprint import flatten
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.result_parts import BenchmarkRecord
from twotower.experiments.runs.run import RESUME_HINT, Run
from twotower.experiments.runs.run_files import CONFIG
from twotower.experiments.tensorboard.tensorboard_run import TensorBoardRun
from twotower.jobs.report_run import report_pruned
from twotower.jobs.run_config import RunConfig
from twotower.jobs.run_context import OpenRun, RunContext
from twotower.jobs.side_information import side_information
from twotower.jobs.unused_settings import unused_setting_warnings
from twotower.parallel.training_parts import RanksDivision
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.tracker import Tracker

LOG = logging.getLogger("twotower")


@contextlib.contextmanager
def open_run(run: Run, config: RunConfig, remedy: str = RESUME_HINT) -> Iterator[OpenRun]:
    """Lock the folder of a run, and show the run on the console, in TensorBoard and in its tracker.

    A training that the epoch callback stops is recorded as pruned, and ends the block. `remedy`: see
    `Run.record`.
    """
    config = config.with_epoch_monitor()
    console = make_console(config.console)
    tracker = (config.tracker or Tracker.Config()).build(run.folder)
    with run.record(console, remedy), TensorBoardRun(run.folder) as board, tracker:
        board.start(run.settings, (run.folder / CONFIG).read_text(encoding="utf-8"), run.overrides)
        tracker.start(flatten(run.settings))
        opened = OpenRun(run, config, board, tracker, console)
        try:
            yield opened
        except TrialPruned as pruned:
            report_pruned(opened, pruned)


def load_data(opened: OpenRun, before: Result | None = None) -> RunContext:
    """Load and split the data of a run, print the audit, and check what depends on the data.

    `before` is the result of the run whose towers are used; None if towers are trained.

    Raises:
        InputError: the data differs from the data of `before`, or the settings do not fit the data.
    """
    run, config = opened.run, opened.config
    benchmark = config.benchmark
    if benchmark is not None:
        benchmark.check_files(config.data.build().files())
    dataset = load_dataset(config, rebuild=not config.cache)
    run.partial_result = run.partial_result.update(
        **sections.identity(run.settings, dataset.identity, run.overrides)
    )
    if before is not None and (changed := sections.changed_data(before.data, dataset)):
        raise InputError(f"{changed} has changed since these towers were trained; restore it, or train again")
    if WARNING in dataset.audit:
        LOG.warning("%s", dataset.audit[WARNING])
    for warning in unused_setting_warnings(config, dataset) if before is None else ():
        LOG.warning("%s", warning)
    if benchmark is not None:
        benchmark.check_catalogue(len(dataset.items))
        record = BenchmarkRecord(
            name=benchmark.name,
            fingerprint=benchmark.fingerprint,
            side_information=side_information(config),
        )
        run.partial_result = run.partial_result.update(benchmark=record)
    seen_filter = config.metrics.filter_seen and not dataset.repeats
    rows = audit_table(dataset.audit | {"seen_filter": seen_filter})
    LOG.info("%s", plain_text([make_table("split audit", (), rows)]), extra={"for_file": True})
    if not config.rebuilds_bundle:
        opened.console.audit(audit_summary(dataset.audit), rows)
    sizes = [len(dataset.items)]
    if has_held_out_items(dataset):  # cold start builds an index without these items, too
        sizes.append(len(np.unique(dataset.train_and_valid.items)))
    for num_items in sizes:
        # Without training, the metrics need not contain the monitored one.
        problems = config.cross_choice_problems(num_items)
        raise_problems(each for each in problems if before is None or each.key != "trainer.monitor")
    evaluator = build_evaluator(config, dataset)
    directions = (before.higher_is_better if before else {}) | evaluator.config.higher_is_better()
    run.partial_result = run.partial_result.update(
        data=sections.data_record(dataset, seen_filter), higher_is_better=directions
    )
    return RunContext(**vars(opened), dataset=dataset, evaluator=evaluator)


def check_unchanged_data(job: RunContext) -> None:
    """Raise InputError if a file that a feature reads has changed since the data was loaded."""
    now = job.config.features.with_files(job.dataset)
    if changed := sections.changed_data(job.run.partial_result.data, now):
        raise InputError(f"{changed} changed during the run; run again")


def build_evaluator(config: RunConfig, dataset: RetrievalDataset) -> Evaluator:
    """Build the metrics of a run, which all of its processes compute together."""
    evaluator = config.evaluated_metrics().build(metric_data(dataset, config.features.item))
    evaluator.division = RanksDivision()
    return evaluator


def load_dataset(config: RunConfig, rebuild: bool) -> RetrievalDataset:
    """Read and split the data of a run, or read its cache; the test split may be hidden."""
    dataset = build_dataset(
        config.data.build(),
        config.split.build(),
        Path(config.output_root) / ".cache",
        rebuild=rebuild,
        needs=config.features.column_problems,
    )
    dataset = config.features.with_files(dataset)
    return dataset.with_hidden_test() if config.is_test_hidden else dataset


def has_held_out_items(dataset: RetrievalDataset) -> bool:
    """Return whether the split holds items out of training, as `split=item_cold` does."""
    return bool(dataset.audit.get("held_out_items"))
