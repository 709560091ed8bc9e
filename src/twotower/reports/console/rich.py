"""The console for people: tables, and a live view of a running sweep on a terminal."""

import contextlib
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as Screen
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import read_manifest
from twotower.bundle.notices import rejection
from twotower.config.errors import InputError
from twotower.config.progress import PROGRESS, duration_text
from twotower.config.trust import foreign_packages
from twotower.files.plain_values import read_yaml
from twotower.reports.compare.figure_names import heading
from twotower.reports.console import console_tables
from twotower.reports.console.console import Console
from twotower.reports.console.sweep_summary import SweepSummary, differ_in_seed_only
from twotower.runs.outcome import Outcome, best_outcome
from twotower.runs.result import Result
from twotower.runs.run_files import CONFIG, TRAIN_LOG

WIDTH_OF_FILES = 240
"""Width of output to a file or a pipe."""

BAR_WIDTH = 20


class Rich(Console):
    """Prints tables and lines; on a terminal, with progress at the bottom."""

    def __init__(self) -> None:
        self.screen = Screen(soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self.screen.is_terminal:
            self.screen.width = WIDTH_OF_FILES
        self.live: Live | None = None
        self.num_jobs = 0
        self.outcomes: list[Outcome] = []
        self.running: dict[str, float] = {}
        """Name of a running job -> its start."""
        self.began = self.ends = 0.0

    def close(self) -> None:
        """Remove the line of progress or the view of the sweep."""
        if self.live is not None:
            self.live.stop()
            self.live = None
        self.began = 0.0

    def log(self, record: logging.LogRecord, line: str) -> None:
        """Print a line; on a terminal, the next one replaces that of `Progress`."""
        is_over = getattr(record, PROGRESS, 1.0) == 1
        show = self.say if is_over or not self.screen.is_terminal else self.draw
        show(line)

    def draw(self, text: str) -> None:
        """Draw a line that the next one replaces; without a terminal, do nothing."""
        if not self.screen.is_terminal:
            return
        if self.live is None:
            self.live = Live(console=self.screen, auto_refresh=False, transient=True)
            self.live.start()
        self.live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, text: str) -> None:
        """Print one line, in place of the line of progress."""
        if not self.began:
            self.close()
        self.screen.print(text)

    def step(self, name: str, lines: Sequence[str], fields: Mapping[str, Any]) -> None:
        """Print the lines."""
        for line in lines:
            self.screen.print(line)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print the audit as a table."""
        self.screen.print(console_tables.make_table("split audit", (), rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print model and baselines on the test split, the index, and the folder."""
        if not result.metrics:
            self.say(f"{result.status}  {result.error or ''}".rstrip())
        for table in console_tables.result_tables(result):
            self.screen.print(table)
        self.say(f"run folder  {folder}")
        self._say_next(folder.parent, Path(output_root), folder)

    def sweep_started(self, folder: Path, num_jobs: int, metric: str) -> None:
        """Print the number of jobs, and open the view of the sweep."""
        super().sweep_started(folder, num_jobs, metric)
        self.say(f"sweep {folder}: {num_jobs} jobs, watching {metric}")
        self.num_jobs, self.began = num_jobs, time.monotonic()
        if self.screen.is_terminal:
            self.live = Live(
                console=self.screen, transient=True, get_renderable=self._sweep_view, refresh_per_second=2
            )
            self.live.start()

    def job_started(self, name: str) -> None:
        """Add the job to the view of the sweep."""
        self.running[name] = time.monotonic()
        if not self.screen.is_terminal:
            self.say(f"{'started':<14}  {name}")

    def job_ended(self, outcome: Outcome) -> None:
        """Print one line."""
        line = console_tables.ended_line(outcome, self.metric)
        self.screen.print(Text(line, style=console_tables.STATUS_STYLES.get(outcome.status, "")))
        self.outcomes.append(outcome)
        self.running.pop(outcome.name, None)
        num_run = sum(not each.skipped for each in self.outcomes)
        if num_run:
            now = time.monotonic()
            self.ends = now + (now - self.began) * (self.num_jobs - len(self.outcomes)) / num_run
        if not self.screen.is_terminal and not outcome.skipped:
            self.say(f"{'':<14}  {self._progress_line()}")

    def _sweep_view(self) -> Group:
        """Return a line per running job, then the progress of the sweep."""
        now = time.monotonic()
        lines = [f"{duration_text(now - began):<12}  {name}" for name, began in self.running.items()]
        total = Table.grid(padding=(0, 1))
        bar = ProgressBar(self.num_jobs, len(self.outcomes), BAR_WIDTH)
        total.add_row(bar, Text(self._progress_line(), no_wrap=True, overflow="ellipsis"))
        return Group(*(Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines), total)

    def _progress_line(self) -> str:
        """Return the number of jobs, the time left if others take as long as those so far, the best job."""
        left = self.ends - time.monotonic()
        parts = [f"{len(self.outcomes)}/{self.num_jobs} jobs"]
        parts += [f"about {duration_text(left)} left"] if left > 0 else []
        best = None if differ_in_seed_only(self.outcomes) else best_outcome(self.outcomes, self.metric)
        if best is not None:
            parts.append(f"best so far {best.served(self.metric):.4f}  {best.name}")
        return "  ".join(parts)

    def sweep_ended(self, summary: SweepSummary) -> None:
        """Close the view; print the table, failures, means over seeds and the best job."""
        self.close()
        best, look = summary.best, summary.first_look
        self.screen.print(console_tables.recipes_table(look) if look else console_tables.sweep_table(summary))
        lines = console_tables.first_look_lines(look) if look else []
        for outcome in summary.outcomes:
            if outcome.status == "failed":
                details = summary.settings(outcome.name), str(outcome.folder / TRAIN_LOG)
                lines += [f"FAILED  {outcome.name}: {outcome.error}"]
                lines += [f"        {text}" for text in details if text]
        lines += map(str, summary.seeds)
        if best is not None and not look:
            details = summary.settings(best.job), str(self.folder / best.job)
            lines += [f"best        {best.job}  {heading(best.metric)} {best.value_text}"]
            lines += [f"            {text}" for text in details if text]
            lines += [f"again       {summary.command}"] if summary.command else []
        for line in lines:
            self.say(line)
        if summary.pareto:
            self.screen.print(console_tables.index_pareto_table(summary))
        self.say(f"took        {duration_text(summary.seconds)}")
        self._say_next(self.folder, self.folder, None if best is None else self.folder / best.job)

    def _say_next(self, runs: Path, logs: Path, run: Path | None) -> None:
        """Print the next commands: compare runs, show curves, serve a bundle."""
        self.say(f"compare     twotower compare {shlex.quote(str(runs))}")
        self.say(f"curves      tensorboard --logdir {shlex.quote(str(logs))}")
        if run is not None and (run / BUNDLE).is_dir():
            for line in _commands_of(run):
                self.say(line)


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
