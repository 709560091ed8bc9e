"""Base class of launchers, which run the jobs of a sweep."""

import importlib
import os
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from twotower.config.component import Component
from twotower.config.working_folder import import_from_working_folder

Payload = Mapping[str, Any]
"""A job as JSON values: the argument of the task."""
Answer = int | str
"""The exit status of a task, or the error that it raised."""

MOST_JOBS = 10_000
"""Most jobs at once; each has a thread, which starts on demand."""
STOPPED = "stopped with its launcher"
QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class JobError(Exception):
    """A job without an exit status: its task raised, or its process was killed."""


class Launcher(Component, ABC):
    """Runs several jobs at a time; a context manager around all jobs of a sweep.

    The constructor starts nothing and imports nothing heavy.

    Args:
        config: settings.
        task: dotted path of a function from a payload to an exit status.
        folder: folder of the sweep, for files and logs of the launcher.
    """

    class Config(Component.Config):
        """Settings of every launcher: none."""

        def problems(self) -> list[tuple[str, str]]:
            """Return (field, message) of settings that cannot work on this machine."""
            return []

        def build(self, task: str, folder: Path) -> "Launcher":
            """Build the launcher of a sweep."""
            return self.make(Launcher, task, folder)

    config: Config

    def __init__(self, config: Config, task: str, folder: Path) -> None:
        super().__init__(config)
        self.task = task
        self.folder = folder.absolute()
        self.threads = ThreadPoolExecutor(MOST_JOBS, "job")
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
        """

    def stop(self) -> None:
        """Let no further job start, and let all running jobs end soon."""
        with self.lock:
            self.stopped.set()

    def submit(self, payload: Payload) -> "Future[int]":
        """Start a job; the caller starts at most `num_workers`."""
        return self.threads.submit(self.run, payload)

    def refuse_if_stopped(self) -> None:
        """Raise JobError after `stop`."""
        if self.stopped.is_set():
            raise JobError(STOPPED)

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


def num_cores(quota: Path = QUOTA) -> int:
    """Return the number of cores that CPU affinity and container quota allow.

    Args:
        quota: Linux file with the processor microseconds of the container and their period, or `max`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
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
    """Run a payload; an exception is printed with its traceback and returned as text.

    Args:
        task: dotted path of a function.
        payload: its argument.
    """
    import_from_working_folder()
    try:
        module, _, name = task.rpartition(".")
        return int(getattr(importlib.import_module(module), name)(payload))
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def run_task_on_node(task: str, payload: Payload, num_threads: int, import_path: list[str]) -> Answer:
    """Run a payload in a process that a cluster started, with these threads and this import path."""
    os.environ.update(threads_environment(num_threads))
    sys.path += [path for path in import_path if path not in sys.path]
    return run_task(task, payload)


def exit_status(answer: Answer, log: object) -> int:
    """Return the exit status of an answer.

    Raises:
        JobError: the task raised.
    """
    if isinstance(answer, str):
        raise JobError(f"the task raised {answer}; see {log}")
    return answer
