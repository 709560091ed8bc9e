"""Jobs in processes on this machine, its cores divided among them."""

import os
from pathlib import Path
from types import TracebackType

from twotower.config.spec import Threads
from twotower.launchers.cores import num_cores
from twotower.launchers.launcher import Handle, Launcher, Payload
from twotower.launchers.process import WorkerProcess
from twotower.launchers.task import threads_environment


class Local(Launcher):
    """Worker processes that start when needed and take one job after the other.

    What jobs print goes to `workers/<n>.log` in the folder.
    """

    class Config(Launcher.Config):
        """How many workers, and with what."""

        num_workers: Threads | None = None
        """Jobs at once; None for one a core."""
        threads_per_worker: Threads | None = None
        """None divides the cores evenly, and leaves a single worker as a run by itself is."""

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config, task, folder)
        self._num_workers = config.num_workers or num_cores()
        self.workers: list[WorkerProcess] = []

    @property
    def num_workers(self) -> int:
        """Return how many jobs run at once."""
        return self._num_workers

    def submit(self, payload: Payload) -> Handle:
        """Start a job in an idle worker, or in a new one where there is none."""
        for worker in self.workers:
            worker.advance()
        for dead in [worker for worker in self.workers if not worker.alive()]:
            self.workers.remove(dead)
            dead.stop()
        idle = next((worker for worker in self.workers if worker.job is None), None)
        return (idle or self._new_worker()).start(payload)

    def _new_worker(self) -> WorkerProcess:
        assert len(self.workers) < self.num_workers, "more jobs under way than workers"
        number = min(set(range(self.num_workers)) - {worker.number for worker in self.workers})
        log = self.folder / "workers" / f"{number}.log"
        self.workers.append(WorkerProcess(number, self.task, log, self.environment()))
        return self.workers[-1]

    def environment(self) -> dict[str, str]:
        """Return what divides the cores among workers."""
        if self.config.threads_per_worker is not None:
            return threads_environment(self.config.threads_per_worker)
        if self.num_workers == 1:
            return {}
        share = max(1, num_cores() // self.num_workers)
        limit = os.environ.get("OMP_NUM_THREADS", "")  # the user's own, for the whole command
        return threads_environment(min(share, int(limit)) if limit.isdigit() else share)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all workers and wait for them."""
        for worker in self.workers:
            worker.ask_to_stop()
        while self.workers:
            self.workers.pop().stop()
