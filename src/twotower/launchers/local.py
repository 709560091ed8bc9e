"""Jobs in worker processes on this machine, which share its cores."""

import os
import threading
from pathlib import Path

from twotower.config.spec import Threads
from twotower.launchers.environment import num_cores, threads_environment
from twotower.launchers.job_process import WorkerProcess
from twotower.launchers.launcher import STOPPED, JobError, Launcher, Payload


class Local(Launcher):
    """Worker processes that start on demand and run one job after the other.

    The output of jobs goes to `workers/<n>.log` in the folder.
    """

    class Config(Launcher.Config):
        """Number of workers and their threads."""

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
        self.idle: dict[int, WorkerProcess] = {}
        self.busy: dict[int, WorkerProcess] = {}
        self.lock, self.stopped = threading.Lock(), False

    @property
    def num_workers(self) -> int:
        """Number of jobs at once."""
        return self.config.num_workers or num_cores()

    def run(self, payload: Payload) -> int:
        """Run a job in an idle worker, or in a new one."""
        with self.lock:
            if self.stopped:
                raise JobError(STOPPED)
            for number in [each for each, worker in self.idle.items() if not worker.end.is_alive()]:
                self.idle.pop(number).close()
            if not self.idle:
                number = min(set(range(self.num_workers)) - self.busy.keys())
                log = self.folder / "workers" / f"{number}.log"
                self.idle[number] = WorkerProcess(self.task, log, self.config.environment())
            number, self.busy[number] = self.idle.popitem()
        try:
            return self.busy[number].run(payload)
        finally:
            with self.lock:
                self.idle[number] = self.busy.pop(number)

    def stop(self) -> None:
        """Stop the workers that run a job."""
        with self.lock:
            self.stopped, busy = True, list(self.busy.values())
        for worker in busy:
            worker.terminate()
        for worker in busy:
            worker.wait()

    def __exit__(self, *error: object) -> None:
        """Stop all workers and wait for them."""
        super().__exit__(*error)
        for worker in self.idle.values():
            worker.close()
