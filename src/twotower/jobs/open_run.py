"""Stages of a run: open, index, write the bundle, finish."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from twotower.bundle.write import write_bundle
from twotower.config.errors import InputError
from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.config.problems import raise_problems
from twotower.config.run_keys import WarmStartKey
from twotower.data.audit import WARNING, audit_summary, audit_table
from twotower.data.build_dataset import build_dataset
from twotower.data.dataset import Holdout, RetrievalDataset
from twotower.evaluation.baselines.baseline_runner import request_time
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.indexing import Indexed, index_catalogue
from twotower.evaluation.item_content import metric_data
from twotower.evaluation.ranking import item_popularity
from twotower.experiments.console.console import Console
from twotower.experiments.console.console_tables import make_table, plain_text, result_tables
from twotower.experiments.console.make_console import make_console
from twotower.experiments.runs import sections, test_ledger
from twotower.experiments.runs.baseline_comparison import suggestion, worse_than_baseline
from twotower.experiments.runs.fingerprint import flatten
from twotower.experiments.runs.result import Result, write_result
from twotower.experiments.runs.result_parts import BenchmarkRecord
from twotower.experiments.runs.run import RESUME_HINT, Run
from twotower.experiments.runs.run_files import CONFIG
from twotower.experiments.tensorboard.tensorboard_run import TensorBoardRun
from twotower.jobs.run_config import RunConfig
from twotower.jobs.side_information import side_information
from twotower.jobs.unused_settings import unused_setting_warnings
from twotower.model.towers.two_tower import TwoTower
from twotower.training.tracker import Tracker

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class RunContext:
    """A run in progress, with its typed settings and its data set."""

    run: Run
    config: RunConfig
    board: TensorBoardRun
    tracker: Tracker
    console: Console
    dataset: RetrievalDataset
    evaluator: Evaluator
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Values per user by file; written when the ledger counts the look, not before."""

    def look_at_test(self) -> Holdout | None:
        """Return the test split and note that the run looked at its targets; None with `test=hidden`."""
        if self.config.is_test_hidden:
            return None
        self.run.looked_at_test = True
        return self.dataset.test


@contextlib.contextmanager
def open_run(
    run: Run, config: RunConfig, before: Result | None = None, remedy: str = RESUME_HINT
) -> Iterator[RunContext]:
    """Lock a run's folder, load and split its data, print the audit, and check what depends on the data.

    `before` is the result of the run whose towers are used; None if towers are trained. `remedy`: see
    `Run.record`.

    Raises:
        InputError: the data differs from that of `before`, or the settings do not fit the data.
    """
    console = make_console(config.console)
    tracker = (config.tracker or Tracker.Config()).build(run.folder)
    with run.record(console, remedy), TensorBoardRun(run.folder) as board, tracker:
        board.start(run.settings, (run.folder / CONFIG).read_text(encoding="utf-8"), run.overrides)
        tracker.start(flatten(run.settings))
        benchmark = config.benchmark
        if benchmark is not None:
            benchmark.check_files(config.data.build().files())
        dataset = load_dataset(config, rebuild=not config.cache)
        run.partial_result = run.partial_result.update(
            **sections.identity(run.settings, dataset.identity, run.overrides)
        )
        if before is not None and (changed := sections.changed_data(before.data, dataset)):
            raise InputError(
                f"{changed} has changed since these towers were trained; restore it, or train again"
            )
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
            console.audit(audit_summary(dataset.audit), rows)
        sizes = [len(dataset.items)]
        if has_held_out_items(dataset):  # cold start builds an index without these items, too
            sizes.append(len(np.unique(dataset.train_and_valid.items)))
        for num_items in sizes:
            # Without training, the metrics need not contain the monitored one.
            problems = config.cross_choice_problems(num_items)
            raise_problems(each for each in problems if before is None or each.key != "trainer.monitor")
        metrics = config.evaluated_metrics()
        evaluator = metrics.build(metric_data(dataset, config.features.item))
        directions = (before.higher_is_better if before else {}) | metrics.higher_is_better()
        run.partial_result = run.partial_result.update(
            data=sections.data_record(dataset, seen_filter), higher_is_better=directions
        )
        yield RunContext(run, config, board, tracker, console, dataset, evaluator)


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


def index_model(job: RunContext, model: TwoTower) -> Indexed:
    """Build, tune and check the index with the validation users as queries."""
    popularity = item_popularity(job.dataset.train, len(job.dataset.items))
    config = job.config
    truncations = config.loss.scoring().truncations(config.embedding_dim)
    return index_catalogue(model, config.index, job.dataset.valid, job.evaluator, popularity, truncations)


def save_bundle(job: RunContext, model: TwoTower, indexed: Indexed) -> None:
    """Write the bundle with the histories of users and the time of its requests.

    A first training stores the histories of the test metrics. The bundle of a warm start or of
    `rebuild_bundle` is for immediate use, so its histories contain the test window too.
    """
    bundle, dataset = job.run.folder / "bundle", job.dataset
    if bundle.exists():  # written by a process that was killed before it wrote the result
        shutil.rmtree(bundle)
    whole = None if dataset.open_whole is None else dataset.open_whole()
    if isinstance(job.config, WarmStartKey) and whole is not None:
        history, now, held_out = whole, int(whole.times.max()) + 1, 0
    else:
        history, now = dataset.test.history, request_time(dataset.test, dataset.train_and_valid)
        held_out = len(dataset.test.target_items) if whole is None else len(whole) - len(history)
    write_bundle(bundle, job.run.settings, model, indexed, dataset, history, now, held_out)


def finish(job: RunContext, indexed: Indexed, result: Mapping[str, Any]) -> int:
    """Write the result and print it; returns the exit status."""
    report = indexed.report.to_dict()
    job.board.index_curve(report["points"], report["target_recall"], report["search_args"])
    job.board.projector(indexed.vectors, job.dataset.item_names())
    return finalize(job, {**result, "index": report})


def finalize(job: RunContext, result: Mapping[str, Any]) -> int:
    """Write `result.json` and TensorBoard's final figures, print the table; returns the exit status."""
    run, ok = job.run, result["index"]["ok"]
    for name, table in job.tables.items():
        run.write_table(name, table)
    timing = result.get("timing", {}) | {"total_seconds": round(run.seconds(), 3)}
    final = run.partial_result.ended("ok" if ok else "index_rejected", **{**result, "timing": timing})
    if (worse := worse_than_baseline(final)) is not None:
        name, warning = worse
        baseline = job.config.baselines.by_name.get(name)
        advice = "" if baseline is None else baseline.suggestion
        LOG.warning("%s; try %s", warning, suggestion(advice, run.settings))
    if job.config.is_test_hidden:
        LOG.info("test split: hidden; %s looks at it", test_ledger.reveal_command(run.folder, final))
    elif (looks := test_ledger.add_look(Path(job.config.output_root), run, final)) is not None:
        final = final.update(test_looks=looks)
    report_result(job, final)
    return DONE if ok else INDEX_REJECTED


def report_result(job: RunContext, result: Result) -> None:
    """Write the result of a run with the warnings of this process, log it to the trackers, and print it."""
    if job.run.warnings:
        result = result.update(warnings=[*result.warnings, *job.run.warnings])
    job.board.result(result)
    job.tracker.status = result.status
    job.tracker.log(result.final_figures())
    for step, figures in result.reused_curves():
        job.tracker.log(figures, step)
    write_result(job.run.folder, result)
    LOG.info("%s", plain_text(result_tables(result)), extra={"for_file": True})
    job.console.result(result, job.run.folder, job.config.output_root)
