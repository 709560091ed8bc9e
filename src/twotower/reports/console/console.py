"""What a console can be told: how a run goes, and how a sweep goes."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from twotower.reports.console.findings import NOTHING, Findings
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result


class Console:
    """Where runs and sweeps say how they go; entered as a context, so that what it draws live is closed.

    This one, for a job whose sweep speaks for it, shows warnings on standard error and nothing else. Others
    extend it by what they show.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def handler(self) -> logging.Handler:
        """Return what shows the log lines of a run; records with `for_file` set are not for the screen."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        handler.addFilter(for_screen)
        return handler

    def say(self, text: str) -> None:
        """Say one line."""

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show the audit of the split: name and value."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Show what a run ends with."""

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Say that a sweep begins: its jobs, those done before too, and how many train, if known."""

    def job_started(self, name: str) -> None:
        """Say that a job begins."""

    def job_ended(self, outcome: Outcome) -> None:
        """Say how a job ended, also of those that an earlier start of the sweep had ended."""

    def beat(self, running: Sequence[str]) -> None:
        """Take note of what is running; called about once a second."""

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Show what a sweep ends with, and what it found beyond the jobs' own figures."""

    def close(self) -> None:
        """End what is drawn live, if anything; may be called twice."""


def for_screen(record: logging.LogRecord) -> bool:
    """Tell whether a record is for the screen, and not for the log file only."""
    return not getattr(record, "for_file", False)
