"""Where the jobs of a sweep run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

Payload = Mapping[str, Any]
"""A job as plain values that JSON can hold: what the task is called with."""


class Handle(Protocol):
    """A job under way."""

    def done(self) -> bool:
        """Say, without waiting, whether it has ended, in whatever way."""

    def result(self) -> int:
        """Return the task's exit status; raises if the job died without one, saying how."""


class Launcher(ABC):
    """Runs jobs, several at a time; entered before the first, left after the last.

    Args:
        task: dotted path of the function that runs one payload and returns an exit status.
        folder: the sweep's, for the launcher's own files and logs.
    """

    def __init__(self, task: str, folder: Path) -> None:
        self.task = task
        self.folder = folder

    @property
    @abstractmethod
    def num_workers(self) -> int:
        """Return how many jobs run at once."""

    @abstractmethod
    def submit(self, payload: Payload) -> Handle:
        """Start a job; at most `num_workers` are under way."""

    def __enter__(self) -> "Launcher":
        """Get ready."""
        return self

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop what is still running, and wait until it has stopped: nothing writes afterwards."""
