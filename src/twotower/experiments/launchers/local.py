"""Jobs in worker processes on this machine, which share its cores."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from twotower.config.exits import Stopped, exit_without_gc, when_parent_ends
from twotower.config.spec import Threads
from twotower.experiments.launchers.launcher import (
    POLL_SECONDS,
    Launcher,
    LostJobError,
    Payload,
    exit_status,
    num_cores,
    run_task,
    threads_environment,
)
from twotower.files.output import redirect_output

CONTEXT = multiprocessing.get_context("spawn")
GRACE_SECONDS = 5.0


class Local(Launcher):
    """Worker processes that start on demand and run one job after the other.

    The output of jobs goes to `workers/<n>.log` in the folder.
    """

    class Config(Launcher.Config):
        num_workers: Threads | None = None
        """Jobs at once; None: one per core."""
        threads_per_worker: Threads | None = None
        """Threads of a worker; None: an equal share of the cores, and no limit for a single worker."""

        def environment(self) -> dict[str, str]:
            """Return the variables that limit the threads of a worker."""
            if self.threads_per_worker is not None:
                return threads_environment(self.threads_per_worker)
            num_workers = self.num_workers or num_cores()
            if num_workers == 1:
                return {}
            share = max(1, num_cores() // num_workers)
            limit = os.environ.get("OMP_NUM_THREADS", "")  # the user's own, for the whole command
            return threads_environment(min(share, int(limit)) if limit.isdigit() else share)

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config, task, folder)
        self.workers: dict[int, Worker] = {}
        self.free = set(range(self.num_workers))

    @property
    def num_workers(self) -> int:
        """Number of jobs at once."""
        return self.config.num_workers or num_cores()

    def run(self, payload: Payload) -> int:
        """Run a job in an idle worker, or in a new one."""
        with self.starting():
            number = min(self.free)  # workers start in this order, so it is an idle one if there is any
            self.free.remove(number)
            worker = self.workers.get(number)
            if worker is None or not worker.process.is_alive():
                log = self.folder / "workers" / f"{number}.log"
                worker = self.workers[number] = Worker(self.task, log, self.config.environment())
        try:
            return worker.run(payload)
        finally:
            with self.lock:
                self.free.add(number)

    def stop(self) -> None:
        """Stop all workers and wait for their end."""
        super().stop()
        for worker in self.workers.values():
            worker.signal(signal.SIGTERM)
        for worker in self.workers.values():
            worker.join()


class Worker:
    """One process, which runs one job at a time. When it ends, its child processes are killed.

    Its output goes to `log`; `environment` has variables added to the variables of this process.
    """

    def __init__(self, task: str, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_run_jobs, args=(theirs, task, log, dict(environment)))
        self.process.start()
        theirs.close()

    def run(self, payload: Payload) -> int:
        """Run a job and return its exit status.

        Raises:
            JobError: the task raised.
            LostJobError: the process died.
        """
        try:
            self.connection.send(dict(payload))
            while not self.connection.poll(POLL_SECONDS):
                if not self.process.is_alive() and not self.connection.poll():
                    raise EOFError
            return exit_status([self.connection.recv()], self.log)
        except (EOFError, OSError):
            while (status := self.process.exitcode) is None:
                time.sleep(0.01)
            self.signal(signal.SIGKILL)  # children that still run
            end = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
            memory = " (out of memory?)" if status == -signal.SIGKILL else ""
            raise LostJobError(f"the worker {end}{memory}; see {self.log}") from None

    def signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with contextlib.suppress(ProcessLookupError):  # it has ended, or has no group yet
            os.killpg(self.process.pid or 0, number)

    def join(self) -> None:
        """Wait for the end of the process; kill it after `GRACE_SECONDS`."""
        self.process.join(GRACE_SECONDS)
        self.signal(signal.SIGKILL)
        self.process.kill()
        self.process.join()


def _run_jobs(connection: Connection, task: str, log: Path, environment: Mapping[str, str]) -> None:
    """Run jobs in the worker's process."""
    os.environ.update(environment)  # OpenMP reads it when the task imports torch or Faiss
    os.setsid()  # Ctrl-C in the terminal reaches only the parent, which then stops the workers
    when_parent_ends(lambda: os.killpg(0, signal.SIGKILL))
    redirect_output(log)
    exit_without_gc()
    try:
        while True:
            payload = connection.recv()
            print(f"==== {payload.get('folder', 'a job')}")
            connection.send(run_task(task, payload))
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
