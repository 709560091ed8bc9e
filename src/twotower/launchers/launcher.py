"""Where the jobs of a sweep run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from twotower.config.component import Component
from twotower.config.facts import Facts

Payload = Mapping[str, Any]
"""A job as plain values that JSON can hold: what the task is called with."""


class JobError(Exception):
    """A job ended without an exit status: its task raised, or its process was killed."""


class Handle(Protocol):
    """A job under way."""

    def done(self) -> bool:
        """Say, without waiting, whether it has ended, in whatever way."""

    def result(self) -> int:
        """Return the task's exit status, waiting for it.

        Raises:
            JobError: there is none; the message says how it died and where its log is.
        """


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

        def problems(self, facts: Facts) -> list[tuple[str, str]]:
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

    @property
    @abstractmethod
    def num_workers(self) -> int:
        """Return how many jobs run at once; asked when entered."""

    @abstractmethod
    def submit(self, payload: Payload) -> Handle:
        """Start a job; at most `num_workers` are under way."""

    def __enter__(self) -> "Launcher":
        """Get ready.

        Raises:
            InputError: something that `problems` tells of, or a cluster that does not answer.
        """
        return self

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what is still running, and wait until it has stopped: nothing writes afterwards."""
