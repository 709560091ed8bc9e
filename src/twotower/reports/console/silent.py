"""For a job whose sweep speaks for it: warnings and nothing else."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from twotower.reports.console.console import Console, OnScreen
from twotower.reports.console.findings import NOTHING, Findings
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result


class Silent(Console):
    """Warnings on standard error; what else there is to say is in the log and in `result.json`."""

    def handler(self) -> logging.Handler:
        """Return a handler for warnings and worse."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        handler.addFilter(OnScreen())
        return handler

    def say(self, text: str) -> None:
        """Say nothing."""

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show nothing."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Show nothing."""

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Say nothing."""

    def job_started(self, name: str) -> None:
        """Say nothing."""

    def job_ended(self, outcome: Outcome) -> None:
        """Say nothing."""

    def beat(self, running: Sequence[str]) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing is drawn."""

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Show nothing."""
