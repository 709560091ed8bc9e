"""Searches over a made-up objective; `main` is one of several processes that work on the same one."""

import json
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.commands.overrides import parse_axis
from twotower.runs.result import Result, Status
from twotower.sweeps.job import Job, SweepContext
from twotower.sweeps.pruning import make_pruning_callback
from twotower.sweeps.sweep import Sweep
from twotower.sweeps.tpe import Tpe

MONITOR = "valid/recall_at_20"
RATE, DIM = "optimizer.learning_rate", "embedding_dim"
VARY = {RATE: "tag(log, interval(1e-4, 1.0))", DIM: "16,32,64,128"}
TRIALS, GO = "trials.jsonl", "go"


def settings_of(overrides: Sequence[str], max_epochs: int = 9) -> dict[str, Any]:
    return {
        **dict(text.split("=", 1) for text in overrides),
        "reuse": True,
        "trainer": {"_target_": "twotower.training.trainer.TrainerChoice", "max_epochs": max_epochs},
        "metrics": {
            "_target_": "twotower.evaluation.evaluator.Evaluator",
            "ks": [20],
            "kinds": {"recall": {"_target_": "twotower.metrics.recall.Recall"}},
        },
    }


def request_of(
    folder: Path,
    vary: Mapping[str, str] = VARY,
    compose: Callable[[Sequence[str]], dict[str, Any]] = settings_of,
    retry_failed: bool = False,
) -> SweepContext:
    axes = tuple(parse_axis(key, text) for key, text in vary.items())
    return SweepContext(folder, axes, (), compose, retry_failed, MONITOR)


def quality(job: Job) -> float:
    """The best there is: a learning rate of 0.01 and 64 dimensions."""
    chosen = dict(text.split("=", 1) for text in job.overrides)
    return 1.0 - abs(math.log10(float(chosen[RATE])) + 2.0) - abs(math.log2(int(chosen[DIM])) - 6.0) / 4.0


def result_of(job: Job, status: Status = "ok", **index: float) -> Result:
    return Result(status=status, metrics={MONITOR: quality(job)}, index=index)


def run(plan: Sweep, num: int | None = None, running: Collection[Job] = ()) -> list[Job]:
    """Run a plan's jobs, or so many, one after the other."""
    jobs: list[Job] = []
    while len(jobs) != num and (job := plan.next(running)) is not None:
        jobs.append(job)
        plan.ended(job, result_of(job))
    return jobs


def note(folder: Path, event: str, job: Job) -> None:
    """Append a line whole, as several processes do at once."""
    line = json.dumps({"event": event, "job": job.name, "overrides": job.overrides, "pid": os.getpid()})
    descriptor = os.open(folder / TRIALS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def main(folder: Path, storage: str | None, num_trials: int, waits_in: int) -> None:
    """Run a search; trial number `waits_in` waits for the file `FOLDER/go`."""
    plan = Tpe.Config(num_trials=num_trials, storage=storage, pruner="median", num_startup=4).build(
        request_of(folder)
    )
    begun = 0
    while (job := plan.next([])) is not None:
        begun += 1
        note(folder, "began", job)
        assert job.trial is not None
        is_hopeless = make_pruning_callback(job.trial)
        status = "ok"
        for epoch in range(3):
            while begun == waits_in and not (folder / GO).exists():
                time.sleep(0.01)
            if is_hopeless(epoch, quality(job)):
                status = "pruned"
                break
        plan.ended(job, result_of(job, status))
        note(folder, status, job)
