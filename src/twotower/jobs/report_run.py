"""Write the result of a run, and show it: console, TensorBoard, trackers and the ledger of test looks."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.config.exits import DONE, INDEX_REJECTED
from twotower.evaluation.indexing import Indexed
from twotower.experiments.console.console_tables import plain_text, result_tables
from twotower.experiments.runs import sections, test_ledger
from twotower.experiments.runs.baseline_comparison import suggestion, worse_than_baseline
from twotower.experiments.runs.result import Result, write_result
from twotower.jobs.run_context import OpenRun, RunContext
from twotower.training.callbacks.curves import TrialPruned
from twotower.training.checkpoints import FIT, delete_progress

LOG = logging.getLogger("twotower")


def report_run(job: RunContext, indexed: Indexed, result: Mapping[str, Any]) -> int:
    """Write the result of a run with its index, and print it; returns the exit status."""
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


def report_result(job: OpenRun, result: Result) -> None:
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


def report_pruned(opened: OpenRun, pruned: TrialPruned) -> None:
    """Report a training that the epoch callback has stopped."""
    run = opened.run
    record = sections.training_record(run.settings, pruned.epochs, False)
    timing = {"total_seconds": round(run.seconds(), 3)}
    ended = run.partial_result.ended("pruned", training=record, curves=dict(pruned.curves), timing=timing)
    report_result(opened, ended)
    delete_progress(run.folder / "checkpoints" / FIT)
