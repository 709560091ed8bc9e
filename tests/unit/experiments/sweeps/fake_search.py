"""Searches over a made-up objective."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.commands.overrides import parse_axis
from twotower.experiments.runs.result import Result, Status
from twotower.experiments.sweeps.sweep import Job, Sweep, SweepContext

MONITOR = "valid/recall_at_20"
RATE, DIM = "optimizer.learning_rate", "embedding_dim"
VARY = {RATE: "tag(log, interval(1e-4, 1.0))", DIM: "16,32,64,128"}


def settings_of(overrides: Sequence[str], max_epochs: int = 9) -> dict[str, Any]:
    return {
        **dict(text.split("=", 1) for text in overrides),
        "reuse": True,
        "trainer": {"_target_": "twotower.training.trainer.TrainerChoice", "max_epochs": max_epochs},
        "metrics": {
            "_target_": "twotower.evaluation.evaluator.Evaluator",
            "ks": [20],
            "kinds": {"recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"}},
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
