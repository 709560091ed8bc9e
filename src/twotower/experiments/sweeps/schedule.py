"""Runs the jobs of a sweep on a launcher, and records them: `sweep.json`, plots, and means over seeds."""

import contextlib
import dataclasses
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twotower.config.errors import InputError
from twotower.experiments.console.console import Console
from twotower.experiments.console.sweep_summary import SeedSummary, SweepSummary
from twotower.experiments.launchers.launcher import Launcher
from twotower.experiments.runs.folder_name import without_seed
from twotower.experiments.runs.outcome import Outcome, make_outcome
from twotower.experiments.runs.result import Result, read_result_or_failure, write_result
from twotower.experiments.runs.sections import changed_data, training_identity
from twotower.experiments.sweeps.sweep import Job, Sweep, build_job_dataset
from twotower.files.atomic import write_text_atomically
from twotower.files.lock import lock_folder

if TYPE_CHECKING:  # a sweep whose jobs are all new opens no data set
    from twotower.data.dataset import RetrievalDataset

SWEEP = "sweep.json"
POLL_SECONDS = 1.0


def run_jobs(sweep: Sweep, launcher: Launcher, console: Console) -> list[Outcome]:
    """Run every unfinished job on an entered launcher; a failed job does not stop the others.

    Jobs that run at the time limit of the sweep are stopped, and can be resumed.
    """
    outcomes: list[Outcome] = []

    def end(job: Job, result: Result | None, seconds: float, skipped: bool) -> None:
        outcomes.append(make_outcome(job.name, job.folder, result, seconds, skipped))
        console.job_ended(outcomes[-1])

    for job in sweep.done_before():
        end(job, read_result_or_failure(job.folder), 0.0, True)
    running: dict[Future[int], tuple[Job, float]] = {}
    while True:
        while len(running) < launcher.num_workers:
            started = sweep.next([job for job, _ in running.values()])
            if started is None:
                break
            console.job_started(started.name)
            running[launcher.submit(started.payload())] = started, time.perf_counter()
        if not running:
            return outcomes
        if is_over := sweep.is_over():
            launcher.stop()
        for future in wait(running, None if is_over else POLL_SECONDS, FIRST_COMPLETED).done:
            job, began = running.pop(future)
            result = read_result_or_failure(job.folder) if is_over else settle(job, future)
            sweep.ended(job, result)
            end(job, result, time.perf_counter() - began, False)


def settle(job: Job, ended: "Future[int]") -> Result:
    """Return the result of an ended job; write a failed one if it has none."""
    result = read_result_or_failure(job.folder)
    if result is not None:
        return result
    failed = Result(status="failed", error=str(ended.exception() or "the job ended without a result"))
    # Another process that runs this job has the lock, and writes its result.
    with contextlib.suppress(InputError), lock_folder(job.folder, "run"):
        failed = failed.ended("failed", seed=job.settings["seed"], overrides=list(job.overrides))
        write_result(job.folder, failed)
    return failed


def find_outdated(jobs: Iterable[Job]) -> list[str]:
    """Return the names of those finished jobs that other code or library versions trained.

    Raises:
        InputError: the data has changed since, so the metrics of the sweep are not comparable.
    """
    outdated: list[str] = []
    datasets: dict[str, RetrievalDataset] = {}  # most jobs share one
    for job in jobs:
        result = read_result_or_failure(job.folder)
        if result is None or result.data.fingerprint is None:
            continue
        specs = json.dumps([job.settings[key] for key in ("data", "split", "features")])
        if specs not in datasets:
            datasets[specs] = build_job_dataset(job.settings)
        dataset = datasets[specs]
        if changed := changed_data(result.data, dataset):
            raise InputError(
                f"{job.folder.parent}: {changed} has changed since {job.name} was trained; give this sweep "
                "another name=, or move that folder away"
            )
        if result.training_fingerprint != training_identity(job.settings, dataset.identity):
            outdated.append(job.name)
    return outdated


def summarize_seeds(outcomes: Sequence[Outcome], metrics: Sequence[str]) -> list[SeedSummary]:
    """Return mean and interval of each configuration with at least two finished seeds.

    `metrics` are keys of `Outcome.figures`.
    """
    from scipy import stats

    groups: dict[str, dict[int, Outcome]] = {}
    for outcome in outcomes:
        if outcome.configuration is not None and outcome.seed is not None:
            groups.setdefault(outcome.configuration, {})[outcome.seed] = outcome
    summaries = []
    for seeds in groups.values():
        name = without_seed(next(iter(seeds.values())).name)
        for metric in metrics:
            values = [each.figures[metric] for each in seeds.values() if metric in each.figures]
            if len(values) > 1:
                mean, sd = statistics.fmean(values), statistics.stdev(values)
                half = float(stats.t.ppf(0.975, len(values) - 1)) * sd / len(values) ** 0.5
                interval = mean - half, mean + half
                summaries.append(SeedSummary(name, metric, mean, sd, interval, len(values)))
    return summaries


def write_sweep(overrides: Sequence[str], summary: SweepSummary, found: Mapping[str, Any]) -> None:
    """Write `sweep.json`, with the entries of `Sweep.summary`, and what TensorBoard shows of the sweep."""
    from twotower.experiments.tensorboard.tensorboard_run import write_sweep_summaries

    jobs = [
        {
            "job": outcome.name,
            "status": outcome.status,
            "figures": outcome.figures,
            "training_reused_from": outcome.reused_from,
            "error": outcome.error,
        }
        for outcome in sorted(summary.outcomes, key=lambda each: each.name)
    ]
    record = {
        **{"overrides": list(overrides), "monitor": summary.metric, **found},
        "seeds": [dataclasses.asdict(each) for each in summary.seeds],
        "effects": summary.effects,
        "jobs": jobs,
    }
    write_text_atomically(summary.folder / SWEEP, json.dumps(record, indent=2))
    write_sweep_summaries(summary.folder, summary.outcomes, summary.metric, summary.lines())


def count_verdicts(folder: Path, metric: str, by: Literal["run", "configuration"]) -> dict[str, int]:
    """Return the number of other jobs by verdict against the best by validation; empty without tests."""
    from twotower.experiments.compare.comparison import compare

    try:
        compared = compare([folder], metric=metric, by=by)
    except InputError:  # no job has this figure, as of a hidden test split
        return {}
    counts = Counter(compared.rows["verdict"][compared.rows["difference"].notna()])
    return dict(counts) if compared.num_tests else {}
