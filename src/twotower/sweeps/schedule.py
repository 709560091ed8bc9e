"""Runs a plan's jobs on a launcher, as many at a time as it takes."""

import time

from twotower.config.errors import InputError
from twotower.files.lock import held
from twotower.launchers.launcher import Handle, Launcher
from twotower.reports.console.console import Console
from twotower.runs.outcome import Outcome, outcome_of
from twotower.runs.record import failure
from twotower.runs.result import Result, read_ending, write_result
from twotower.sweeps.job import Job
from twotower.sweeps.sweep import Plan

POLL_SECONDS, BEAT_SECONDS = 0.05, 1.0


def run_jobs(plan: Plan, launcher: Launcher, console: Console) -> list[Outcome]:
    """Run every job that is not done; one that fails or dies never ends the others.

    Args:
        plan: which jobs.
        launcher: where; already entered.
        console: told how it goes.
    """
    outcomes = [
        outcome_of(job.name, job.folder, read_ending(job.folder), 0.0, True) for job in plan.done_before()
    ]
    for outcome in outcomes:
        console.job_ended(outcome)
    running: dict[str, tuple[Job, Handle, float]] = {}
    beat = 0.0
    while True:
        while len(running) < launcher.num_workers:
            job = plan.next([job for job, _, _ in running.values()])
            if job is None:
                break
            console.job_started(job.name)
            running[job.name] = job, launcher.submit(job.payload()), time.perf_counter()
        if not running:
            return outcomes
        for name in [name for name, (_, handle, _) in running.items() if handle.done()]:
            job, handle, began = running.pop(name)
            result = settle(job, handle)
            plan.ended(job, result)
            outcomes.append(outcome_of(name, job.folder, result, time.perf_counter() - began, False))
            console.job_ended(outcomes[-1])
        if time.perf_counter() - beat > BEAT_SECONDS:
            plan.beat([job for job, _, _ in running.values()])
            console.beat(list(running))
            beat = time.perf_counter()
        time.sleep(POLL_SECONDS)


def settle(job: Job, handle: Handle) -> Result | None:
    """Return the result of a job that has ended; one that died without a word is given a failed one."""
    died = "the job ended without a result"
    try:
        handle.result()
    except Exception as error:
        died = str(error)
    result = read_ending(job.folder)
    if result is not None:
        return result
    failed = Result(status="failed", error=died)
    try:
        with held(job.folder, "run"):
            known = failed.having(seed=job.settings["seed"], overrides=list(job.overrides))
            write_result(job.folder, failure(died, known))
    except InputError:  # another process is at work on this run, and will say how it ended
        return failed
    return read_ending(job.folder)
