"""Base class of launchers, which run the jobs of a sweep."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from twotower.config.component import Component
from twotower.config.problems import Problem, raise_problems

Payload = Mapping[str, Any]
"""A job as JSON values: the argument of the task."""

MOST_JOBS = 10_000
"""Most jobs at once; each has a thread, which starts on demand."""
STOPPED = "stopped with its launcher"


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
        self.config = config
        self.task = task
        self.folder = folder.absolute()
        self.threads = ThreadPoolExecutor(MOST_JOBS, "job")

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

    @abstractmethod
    def stop(self) -> None:
        """End all running jobs and wait for their end; no further job starts."""

    def submit(self, payload: Payload) -> "Future[int]":
        """Start a job; the caller starts at most `num_workers`."""
        return self.threads.submit(self.run, payload)

    def __enter__(self) -> Self:
        """Check the settings and connect.

        Raises:
            InputError: see `Config.problems`, or the cluster does not answer.
        """
        raise_problems(Problem(f"launcher.{key}", message) for key, message in self.config.problems())
        return self

    def __exit__(self, *error: object) -> None:
        """Stop all running jobs and wait for their end."""
        self.stop()
        self.threads.shutdown()
