"""Jobs in worker processes on this machine, which share its cores."""

import os
from pathlib import Path

from twotower.config.spec import Threads
from twotower.launchers.launcher import Launcher, Payload, num_cores, threads_environment
from twotower.launchers.worker import Worker


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
        self.workers: dict[int, Worker] = {}
        self.free = set(range(self.num_workers))

    @property
    def num_workers(self) -> int:
        """Number of jobs at once."""
        return self.config.num_workers or num_cores()

    def run(self, payload: Payload) -> int:
        """Run a job in an idle worker, or in a new one."""
        with self.lock:
            self.refuse_if_stopped()
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
            worker.terminate()
        for worker in self.workers.values():
            worker.close()
