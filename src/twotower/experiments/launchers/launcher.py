"""Base class of launchers, which run the jobs of a sweep."""

import contextlib
import importlib
import logging
import os
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.config.exits import exit_without_gc
from twotower.config.spec import NonNegativeInt
from twotower.config.working_folder import import_from_working_folder
from twotower.parallel.launched import LostProcessError

LOG = logging.getLogger("twotower")
Payload = Mapping[str, Any]
"""A job as JSON values: the argument of the task."""

MAX_JOBS = 10_000
"""Most jobs at once; each has a thread, which starts on demand."""
POLL_SECONDS = 0.5
STOPPED = "stopped with its launcher"
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Linux file with the processor microseconds of the container and their period, or `max`."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class JobError(Exception):
    """A job without an exit status."""


class RefusedJobError(JobError, InputError):
    """The task raised an InputError."""


class LostJobError(JobError):
    """A process of the job, or its node, was lost: the job can run again."""


Answer = int | JobError
"""The exit status of a task, or the error that it raised."""


class Launcher(Component, ABC):
    """Runs several jobs at a time; a context manager around all jobs of a sweep.

    The constructor starts nothing and imports nothing heavy. `task` is the dotted path of a function from a
    payload to an exit status; `folder` is the folder of the sweep, for files and logs of the launcher.
    """

    class Config(Component.Config):
        max_failures: NonNegativeInt = 3
        """Number of times that a job starts again, from its last checkpoint, after one of its processes ended
        without an answer, as when it is killed or its node is lost. An error does not start it again."""

        def build(self, task: str, folder: Path) -> "Launcher":
            """Build the launcher of a sweep."""
            return self.make(Launcher, task, folder)

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config)
        self.task = task
        self.folder = folder.absolute()
        self.threads = ThreadPoolExecutor(MAX_JOBS, "job")
        self.lock, self.stopped = threading.Lock(), threading.Event()

    @property
    @abstractmethod
    def num_workers(self) -> int:
        """Number of jobs at once, once entered."""

    @abstractmethod
    def run(self, payload: Payload) -> int:
        """Run a job in the calling thread and return the exit status of the task.

        Raises:
            JobError: no exit status; the message has the cause and the log file.
            LostJobError: no exit status, because a process of the job was lost.
        """

    def stop(self) -> None:
        """Let no further job start, and let all running jobs end soon."""
        with self.lock:
            self.stopped.set()

    def submit(self, payload: Payload) -> "Future[int]":
        """Start a job; the caller starts at most `num_workers`."""
        return self.threads.submit(self._run_until_answered, payload)

    def _run_until_answered(self, payload: Payload) -> int:
        """Run a job, again each time that it is lost, at most `max_failures` times."""
        name, most, failures = Path(payload.get("folder", "a job")).name, self.config.max_failures, 0
        while True:
            try:
                return self.run(payload)
            except LostJobError as error:
                failures += 1
                if self.stopped.is_set() or most == 0:
                    raise
                if failures > most:
                    raise LostJobError(f"lost {failures} times: {error}") from error
                LOG.warning("%s starts again (%d of at most %d times): %s", name, failures, most, error)

    def run_all(self, payloads: Sequence[Payload]) -> Iterator[tuple[Payload, int]]:
        """Run many jobs, at most `num_workers` at once; yields each with its exit status when it has ended.

        Raises:
            JobError: the first of a job; the others are stopped when the launcher is left.
        """
        waiting, running = list(payloads), dict[Future[int], Payload]()
        while waiting or running:
            while waiting and len(running) < self.num_workers:
                payload = waiting.pop(0)
                running[self.submit(payload)] = payload
            for ended in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
                yield running.pop(ended), ended.result()

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Let `stop` wait until a job has started. Raises JobError after it."""
        with self.lock:
            if self.stopped.is_set():
                raise JobError(STOPPED)
            yield

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            InputError: the cluster does not answer.
        """
        return self

    def __exit__(self, *error: object) -> None:
        """Stop all running jobs and wait for their end."""
        self.stop()
        self.threads.shutdown()


def num_cores() -> int:
    """Return the number of cores that CPU affinity and container quota allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or `max`: no quota
        return cores


def threads_environment(num_threads: int) -> dict[str, str]:
    """Return environment variables for this many threads in torch and Faiss; idle threads sleep."""
    return dict.fromkeys(THREADS, str(num_threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def processes_of(payload: Payload) -> tuple[int, int]:
    """Return the number of nodes and of processes on each that a job's training has."""
    trainer = payload.get("settings", {}).get("trainer", {})
    return trainer.get("num_nodes", 1), trainer.get("devices", 1)


def run_task(task: str, payload: Payload) -> Answer:
    """Call a function, by its dotted path, with a payload.

    Returns its exit status, or an error, whose traceback is printed.
    """
    import_from_working_folder()
    try:
        module, _, name = task.rpartition(".")
        return int(getattr(importlib.import_module(module), name)(payload))
    except Exception as error:
        traceback.print_exc()
        kinds = {InputError: RefusedJobError, LostProcessError: LostJobError}
        kind = next((each for base, each in kinds.items() if isinstance(error, base)), JobError)
        return kind(f"the task raised {type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def run_task_on_node(task: str, payload: Payload, num_threads: int, import_path: list[str]) -> Answer:
    """Run a payload in a process that a cluster started, with these threads and this import path."""
    exit_without_gc()
    os.environ.update(threads_environment(num_threads))
    sys.path += [path for path in import_path if path not in sys.path]
    return run_task(task, payload)


def exit_status(answers: Sequence[Answer], log: object) -> int:
    """Return the highest exit status of the processes of a job.

    Raises:
        JobError: a task raised. Another one that only lost it is not the cause.
    """
    errors = [answer for answer in answers if isinstance(answer, JobError)]
    for error in sorted(errors, key=lambda each: isinstance(each, LostJobError)):
        raise type(error)(f"{error}; see {log}")
    return max(answer for answer in answers if isinstance(answer, int))
