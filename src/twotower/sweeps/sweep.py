"""Base class of sweeps."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from pydantic import field_validator

from twotower.config.component import Component
from twotower.config.errors import InputError
from twotower.runs.result import Result
from twotower.sweeps.job import Job, SweepContext


class Sweep(Component, ABC):
    """Chooses the jobs of a sweep and yields them to the scheduler.

    The constructor composes and checks the jobs; none runs before.

    Args:
        config: settings of the sweep.
        context: folder, varied keys and fixed overrides.

    Raises:
        InputError: no key varies, or the settings of a job are wrong.
    """

    class Config(Component.Config):
        """Settings of every sweep."""

        may_fail: ClassVar[bool] = False
        """Whether the sweep succeeds although some jobs failed."""

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
            """Build the sweep."""
            return self.make(Sweep, context)

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        self.config, self.context = config, context

    def notes(self) -> list[str]:
        """Return lines to print before the first job."""
        return []

    @abstractmethod
    def done_before(self) -> list[Job]:
        """Return finished jobs of an earlier process, which are skipped."""

    @abstractmethod
    def next(self, running: Collection[Job]) -> Job | None:
        """Return a job to start now; None without one, or if it must wait for a running job."""

    @abstractmethod
    def ended(self, job: Job, result: Result | None) -> None:
        """Process the end of a job; `result` is its `result.json`, None if it is missing."""

    @property
    @abstractmethod
    def num_jobs(self) -> int:
        """Number of jobs, finished ones included."""

    @property
    def num_trainings(self) -> int | None:
        """Number of jobs that train towers, None if unknown."""
        return None

    def is_over(self) -> bool:
        """Return whether to stop running jobs; called about once a second."""
        return False

    def summary(self) -> dict[str, Any]:
        """Return further entries of `sweep.json`."""
        return {}
