"""For people: tables, and while a sweep runs a live view of it where there is a terminal."""

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as Screen
from rich.live import Live
from rich.text import Text

from twotower.reports.console import tables
from twotower.reports.console.console import Console, for_screen
from twotower.reports.console.findings import NOTHING, Findings, form_of
from twotower.reports.console.progress import SweepView, in_words
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result
from twotower.runs.run_files import TRAIN_LOG

WIDTH_OF_FILES = 240
"""Nothing that goes to a file or a pipe needs folding at 80 columns."""

SWEEP = "sweep.json"


class Rich(Console):
    """Tables and lines, and one live view at the bottom of a terminal."""

    def __init__(self) -> None:
        self.screen = Screen(soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self.screen.is_terminal:
            self.screen.width = WIDTH_OF_FILES
        self.live: Live | None = None
        self.view: SweepView | None = None
        self.metric = ""

    def close(self) -> None:
        """End the live view."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def handler(self) -> logging.Handler:
        """Return a handler that prints plain lines."""
        handler = logging.StreamHandler(sys.stdout)
        handler.addFilter(for_screen)
        return handler

    def say(self, text: str) -> None:
        """Print one line."""
        self.screen.print(text)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print the audit as a table."""
        self.screen.print(tables.audit_table(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print model and baselines on the test split, then the index, then where all that is."""
        if result.metrics:
            self.screen.print(tables.quality_table(result))
        else:
            self.say(f"{result.status}  {result.error or ''}".rstrip())
        if result.cold_start:
            self.screen.print(tables.cold_start_table(result.cold_start))
        if result.index:
            self.screen.print(tables.index_table(result.index))
        self.say(f"run folder  {folder}")
        self.say(f"compare     tensorboard --logdir {output_root}")

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Say how many jobs there are, and open the live view."""
        self.metric = metric
        self.view = SweepView(folder, num_jobs, metric, num_trainings)
        self.say(f"sweep {folder}: {'jobs' if num_jobs is None else f'{num_jobs} jobs'}, watching {metric}")
        if self.screen.is_terminal:
            self.live = Live(
                get_renderable=self.view.render, console=self.screen, refresh_per_second=2, transient=True
            )
            self.live.start()

    def job_started(self, name: str) -> None:
        """Show the job among the running."""
        if self.view is not None:
            self.view.started(name, time.monotonic())
        if self.live is None:
            self.say(f"{'started':<14}  {name}")

    def job_ended(self, outcome: Outcome) -> None:
        """Print one line."""
        if self.view is not None:
            self.view.ended(outcome)
        line = tables.ended_line(outcome, self.metric)
        self.screen.print(Text(line, style=tables.STATUS_STYLES.get(outcome.status, "")))
        if self.live is None and self.view is not None and not outcome.skipped:
            self.say(f"{'':<14}  {self.view.words(time.monotonic())}")

    def beat(self, running: Sequence[str]) -> None:
        """Keep to what is running."""
        if self.view is not None:
            self.view.keep(running)

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Close the live view; print the table, the failures, the means over seeds, the best."""
        self.close()
        self.screen.print(tables.sweep_table(outcomes, self.metric, findings))
        for outcome in outcomes:
            if outcome.status == "failed":
                self.say(f"FAILED  {outcome.name}: {outcome.error}")
                for more in (findings.settings(outcome.name), outcome.folder / TRAIN_LOG):
                    if more:
                        self.say(f"        {more}")
        for summary in findings.seeds:
            self.say(str(summary))
        self._say_best(outcomes, findings)
        self.say(f"took        {in_words(seconds)}")

    def _say_best(self, outcomes: Sequence[Outcome], findings: Findings) -> None:
        folder = Path() if self.view is None else self.view.folder
        if len(findings.objectives) > 1 and findings.best:
            self.screen.print(tables.pareto_table(findings))
            self.say(f"commands    of each, ready to be typed: search.best in {folder / SWEEP}")
            return
        best = findings.winner(outcomes, self.metric)
        if best is None:
            return
        self.say(f"best        {best.job}  {best.metric} {form_of(best.metric).format(best.value)}")
        for line in filter(None, (findings.settings(best.job), folder / best.job)):
            self.say(f"            {line}")
        if findings.best:
            self.say(f"again       {findings.best[0]['command']}")
