"""Where the jobs of a sweep run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from twotower.config.component import Component
from twotower.config.problems import Problem, raise_problems

Payload = Mapping[str, Any]
"""A job as plain values that JSON can hold: what the task is called with."""

MOST_JOBS = 10_000
"""At once; each is waited for by a thread, which starts when it is needed."""
STOPPED = "stopped with its launcher"


class JobError(Exception):
    """A job ended without an exit status: its task raised, or its process was killed."""


class Launcher(Component, ABC):
    """Runs jobs, several at a time; entered before the first, left after the last.

    Constructing one starts nothing and imports nothing heavy.

    Args:
        config: how.
        task: dotted path of the function that runs one payload and returns an exit status.
        folder: the sweep's, for the launcher's own files and logs.
    """

    class Config(Component.Config):
        """Settings of every launcher: none."""

        def problems(self) -> list[tuple[str, str]]:
            """Return (field, message) for what can be known to be wrong before anything runs."""
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
        """Return how many jobs run at once; asked when entered."""

    @abstractmethod
    def run(self, payload: Payload) -> int:
        """Run a job to its end and return the task's exit status; called in a thread of its own.

        Raises:
            JobError: there is none; the message says how it died and where its log is.
        """

    @abstractmethod
    def stop(self) -> None:
        """End what still runs, and wait until it has ended; no job is begun any more."""

    def submit(self, payload: Payload) -> "Future[int]":
        """Start a job; at most `num_workers` are under way."""
        return self.threads.submit(self.run, payload)

    def __enter__(self) -> Self:
        """Get ready.

        Raises:
            InputError: something that `Config.problems` tells of, or a cluster that does not answer.
        """
        raise_problems(Problem(f"launcher.{key}", message) for key, message in self.config.problems())
        return self

    def __exit__(self, *error: object) -> None:
        """Stop what is still running, and wait until it has stopped: nothing writes afterwards."""
        self.stop()
        self.threads.shutdown()
