"""What a choice of conf/sweep must be able to do."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import field_validator

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.runs.result import Result
from twotower.sweeps.job import Job, SweepContext


class Sweep(Component, ABC):
    """What varies, and how the jobs are chosen; hands them out in the process that schedules them.

    Building one composes and checks the jobs, before anything is run.

    Args:
        config: what varies.
        context: what the command line asks.

    Raises:
        InputError: nothing varies, or a job's settings are wrong.
    """

    class Config(Component.Config):
        """Settings of every sweep."""

        exclusive: ClassVar[bool] = True
        """Whether one process at a time may work on the sweep's folder."""

        may_fail: ClassVar[bool] = False
        """Whether the sweep is well if some of its jobs are, and others failed."""

        vary: dict[str, str] | None = None
        """Key -> its values, in the grammar of the command line: `32,64,128`, `range(1, 5)`,
        `interval(0.1, 0.9)`, `tag(log, interval(1e-4, 1e-2))`."""

        @field_validator("vary", mode="before")
        @classmethod
        def _check_vary(cls, value: Any) -> Any:
            for key, values in value.items() if isinstance(value, dict) else ():
                if isinstance(values, list):
                    raise InputError(f"{key}: is a list; write `{key}: {','.join(map(str, values))}`")
                if not isinstance(values, str):
                    raise InputError(f"{key}: is one value; write several with commas, or leave it out")
            return value

        def build(self, context: SweepContext) -> "Sweep":
            """Build the sweep that a command asks for."""
            return self.make(Sweep, context)

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        self.config, self.context = config, context

    def notes(self) -> list[str]:
        """Return what to say before the first job."""
        return []

    @abstractmethod
    def done_before(self) -> list[Job]:
        """Return the jobs that an earlier process ended and that are not run again."""

    @abstractmethod
    def next(self, running: Collection[Job]) -> Job | None:
        """Return a job to start now, or None: there is none, or it must wait for one that is running."""

    @abstractmethod
    def ended(self, job: Job, result: Result | None) -> None:
        """Take note of how a job ended; `result` is its `result.json`, None if it died without one."""

    @property
    @abstractmethod
    def num_jobs(self) -> int:
        """Return how many jobs there are in all, those done before included."""

    @property
    def num_trainings(self) -> int | None:
        """Return how many of the jobs must train towers, if that is known."""
        return None

    def is_over(self) -> bool:
        """Return whether jobs that still run are to be stopped; asked about once a second."""
        return False

    def beat(self, running: Collection[Job]) -> None:
        """Called about once a second while jobs run: say that they are alive to whoever shares the sweep."""

    def summary(self) -> dict[str, Any]:
        """Return what the sweep found beyond its jobs' own figures, for `sweep.json`."""
        return {}
