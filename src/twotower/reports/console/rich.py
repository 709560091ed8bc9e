"""The console for people: tables, and a live view of a running sweep on a terminal."""

import contextlib
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as Screen
from rich.live import Live
from rich.text import Text

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import read_manifest
from twotower.bundle.notices import rejection
from twotower.config.errors import InputError
from twotower.config.progress import PROGRESS, duration_text
from twotower.config.trust import foreign_packages
from twotower.files.plain_values import read_yaml
from twotower.reports.console import console_tables
from twotower.reports.console.console import (
    NOTHING,
    Console,
    ConsoleFormatter,
    Findings,
    for_screen,
    form_of,
)
from twotower.reports.console.sweep_progress import SweepProgress
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result
from twotower.runs.run_files import CONFIG, TRAIN_LOG

WIDTH_OF_FILES = 240
"""Width of output to a file or a pipe."""

SWEEP = "sweep.json"


class Rich(Console):
    """Prints tables and lines; on a terminal, with progress at the bottom."""

    def __init__(self) -> None:
        self.screen = Screen(soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self.screen.is_terminal:
            self.screen.width = WIDTH_OF_FILES
        self.drawn: Live | None = None
        self.progress: SweepProgress | None = None

    def close(self) -> None:
        """Remove the line of progress and the view of the sweep."""
        self.erase()
        if self.progress is not None:
            self.progress.close()

    def erase(self) -> None:
        """Remove the line of progress."""
        if self.drawn is not None:
            self.drawn.stop()
            self.drawn = None

    def handler(self) -> logging.Handler:
        """Return a handler that prints plain lines."""
        handler = _LogLines(self)
        handler.setFormatter(ConsoleFormatter())
        handler.addFilter(for_screen)
        return handler

    def draw(self, text: str) -> None:
        """Draw a line that the next one replaces; without a terminal, do nothing."""
        if not self.screen.is_terminal:
            return
        if self.drawn is None:
            self.drawn = Live(console=self.screen, auto_refresh=False, transient=True)
            self.drawn.start()
        self.drawn.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, text: str) -> None:
        """Print one line, in place of the line of progress."""
        self.erase()
        self.screen.print(text)

    def step(self, name: str, lines: Sequence[str], fields: Mapping[str, Any]) -> None:
        """Print the lines."""
        for line in lines:
            self.screen.print(line)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print the audit as a table."""
        self.screen.print(console_tables.audit_table(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print model and baselines on the test split, the index, and the folder."""
        if not result.metrics:
            self.say(f"{result.status}  {result.error or ''}".rstrip())
        for table in console_tables.result_tables(result):
            self.screen.print(table)
        self.say(f"run folder  {folder}")
        self._say_next(folder.parent, Path(output_root), folder)

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Print the number of jobs, and open the view of the sweep."""
        super().sweep_started(folder, num_jobs, metric, num_trainings)
        self.say(f"sweep {folder}: {'jobs' if num_jobs is None else f'{num_jobs} jobs'}, watching {metric}")
        self.progress = SweepProgress(self.screen, folder, num_jobs, metric)

    def job_started(self, name: str, tries: str = "") -> None:
        """Add the job to the view of the sweep."""
        if self.progress is not None:
            self.progress.started(name, tries or name)
        if not self.screen.is_terminal:
            self.say(f"{'started':<14}  {tries or name}")

    def job_ended(self, outcome: Outcome) -> None:
        """Print one line."""
        line = console_tables.ended_line(outcome, self.metric)
        self.screen.print(Text(line, style=console_tables.STATUS_STYLES.get(outcome.status, "")))
        if self.progress is not None:
            self.progress.ended(outcome)
            if not self.screen.is_terminal and not outcome.skipped:
                self.say(f"{'':<14}  {self.progress.line()}")

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Close the view; print the table, failures, means over seeds and the best job."""
        self.close()
        if look := findings.look:
            self.screen.print(console_tables.recipes_table(look))
            for name, reason in look["left_out"].items():
                self.say(f"left out    {name}: {reason}")
            if look["tests"]:
                self.screen.print(console_tables.recipe_tests_table(look))
            for line in console_tables.first_look_lines(look):
                self.say(line)
        else:
            self.screen.print(console_tables.sweep_table(outcomes, self.metric, findings))
        for outcome in outcomes:
            if outcome.status == "failed":
                self.say(f"FAILED  {outcome.name}: {outcome.error}")
                for more in (findings.settings(outcome.name), outcome.folder / TRAIN_LOG):
                    if more:
                        self.say(f"        {more}")
        for summary in findings.seeds:
            self.say(str(summary))
        if not findings.look:
            self._say_best(outcomes, findings)
        self.say(f"took        {duration_text(seconds)}")
        best = findings.winner(outcomes, self.metric)
        self._say_next(self.folder, self.folder, None if best is None else self.folder / best.job)

    def _say_next(self, runs: Path, logs: Path, run: Path | None) -> None:
        """Print the next commands: compare runs, show curves, serve a bundle."""
        self.say(f"compare     twotower compare {shlex.quote(str(runs))}")
        self.say(f"curves      tensorboard --logdir {shlex.quote(str(logs))}")
        if run is not None and (run / BUNDLE).is_dir():
            for line in _commands_of(run):
                self.say(line)

    def _say_best(self, outcomes: Sequence[Outcome], findings: Findings) -> None:
        if len(findings.objectives) > 1 and findings.best:
            self.screen.print(console_tables.pareto_table(findings))
            self.say(f"commands    of each trial: search.best in {self.folder / SWEEP}")
            return
        if indexes := findings.indexes(outcomes, self.metric):
            self.screen.print(console_tables.index_pareto_table(indexes, len(outcomes), self.metric))
        best = findings.winner(outcomes, self.metric)
        if best is None:
            return
        self.say(f"best        {best.job}  {best.metric} {form_of(best.metric).format(best.value)}")
        for line in filter(None, (findings.settings(best.job), self.folder / best.job)):
            self.say(f"            {line}")
        if findings.best:
            self.say(f"again       {findings.best[0]['command']}")


class _LogLines(logging.Handler):
    """Prints records as lines; on a terminal, the next one replaces a record of `Progress`."""

    def __init__(self, console: Rich) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print or draw a record."""
        if getattr(record, PROGRESS, 1.0) < 1 and self.console.screen.is_terminal:
            self.console.draw(self.format(record))
        else:
            self.console.say(self.format(record))

    def close(self) -> None:
        """Remove the line of progress."""
        self.console.erase()
        super().close()


def _commands_of(run: Path) -> Iterator[str]:
    """Yield the next commands for a run with a bundle."""
    folder, manifest = shlex.quote(str(run)), None
    foreign = foreign_packages(read_yaml(run / CONFIG, "restore the file")) if (run / CONFIG).exists() else []
    if foreign:
        folder += f" trusted_packages=[{','.join(foreign)}]"
    with contextlib.suppress(InputError):  # a damaged bundle: `twotower serve` reports it
        manifest = read_manifest(run / BUNDLE)
    if manifest is not None and rejection(manifest):
        yield f"reindex     twotower reindex run={folder} index=flat_ip"
        yield "rejected    the index failed its checks: serving it needs allow_rejected_index=true"
        return
    if manifest is not None and manifest.held_out_interactions:
        yield (
            f"all data    twotower train rebuild_bundle={folder}   "
            "(this bundle does not know the test window)"
        )
    yield f"serve       twotower serve bundle={folder}"
