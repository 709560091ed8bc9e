"""The console for people: tables and lines, and on a terminal the progress at the bottom."""

import contextlib
import logging
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console as Screen
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from twotower.bundle.layout import BUNDLE
from twotower.bundle.manifest import read_manifest
from twotower.bundle.notices import bundle_warnings
from twotower.config.progress import PROGRESS, duration_text
from twotower.config.trust import foreign_packages
from twotower.experiments.compare.figure_names import format_figure, heading
from twotower.experiments.console import console_tables
from twotower.experiments.console.console import Console, JsonLines, Quiet
from twotower.experiments.console.sweep_summary import SweepSummary, differ_in_seed_only
from twotower.experiments.runs.outcome import Outcome, best_outcome
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.run_files import CONFIG, TRAIN_LOG
from twotower.files.plain_values import read_yaml


class Rich(Console):
    """Prints tables and lines; on a terminal, with progress at the bottom.

    `has_details`: also log records below INFO, and the tables that `train.log` has (`console=full`).
    """

    def __init__(self, has_details: bool = False) -> None:
        super().__init__()
        self.has_details = has_details
        self.setLevel(logging.DEBUG if has_details else logging.INFO)
        self.screen = Screen(soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self.screen.is_terminal:
            self.screen.width = console_tables.WIDTH_OF_FILES
        self.drawn: Live | None = None
        self.has_begun = False
        self.progress = Progress(disable=True)
        """Has the task of the sweep, then the tasks of the running jobs."""
        self.metric = ""
        self.outcomes: list[Outcome] = []

    def close(self) -> None:
        """Remove the line of progress or the progress of the sweep."""
        self._erase()
        self.progress.stop()
        super().close()

    def _erase(self) -> None:
        """Remove the line that `draw` drew."""
        if self.drawn is not None:
            self.drawn.stop()
            self.drawn = None

    def log(self, record: logging.LogRecord, line: str) -> None:
        """Print a line; on a terminal, it replaces the line of `config.progress.Progress`."""
        is_over = getattr(record, PROGRESS, 1.0) == 1
        show = self.say if is_over or not self.screen.is_terminal else self.draw
        show(line)

    def draw(self, text: str) -> None:
        if not self.screen.is_terminal:
            return
        if self.drawn is None:
            self.drawn = Live(console=self.screen, auto_refresh=False, transient=True)
            self.drawn.start()
        self.drawn.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, text: str | Text | Table) -> None:
        """Print a line or a table, in place of the line of progress."""
        self._erase()
        if isinstance(text, Table):
            self._separate()
            text = console_tables.table_text(self.screen, text)
        self.screen.print(text)
        self.has_begun = True

    def heading(self, text: str) -> None:
        """Print the name of the part that follows, as the titles of tables."""
        self._separate()
        self.say(Text(text, console_tables.TITLE_STYLE))

    def _separate(self) -> None:
        """Print an empty line, except as the first one."""
        if self.has_begun:
            self.say("")

    def audit(self, summary: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str]]) -> None:
        """Print the audit or its summary as a table."""
        title, shown = ("split audit", rows) if self.has_details else ("data", summary)
        self.say(console_tables.make_table(title, (), shown))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print model and baselines on the test split, the index, and what to type next."""
        if not result.metrics:
            self.say(f"{result.status}  {result.error or ''}".rstrip())
        for table in console_tables.result_tables(result, self.has_details):
            self.say(table)
        self.heading("next")
        self.say(f"run folder  {folder}")
        if (folder / BUNDLE).is_dir():
            for warning in bundle_warnings(read_manifest(folder / BUNDLE), folder):
                self.say(f"note        {warning}")
        self._say_next(folder.parent, Path(output_root), folder if result.status == "ok" else None)

    def _say_next(self, runs: Path, logs: Path, served: Path | None) -> None:
        """Print the next commands: compare runs, show curves, serve a bundle."""
        self.say(f"compare     twotower compare {shlex.quote(str(runs))}")
        self.say(f"curves      tensorboard --logdir {shlex.quote(str(logs))}")
        if served is not None and (served / BUNDLE).is_dir():  # a pruned job has none
            command = f"twotower serve bundle={shlex.quote(str(served))}"
            config = served / CONFIG
            if config.exists() and (packages := foreign_packages(read_yaml(config, "restore the file"))):
                command += f" trusted_packages=[{','.join(packages)}]"
            self.say(f"serve       {command}")

    def sweep_started(self, folder: Path, num_jobs: int, metric: str) -> None:
        """Print the number of jobs, and show the progress of the sweep."""
        self.metric = metric
        self.say(f"sweep {folder}: {num_jobs} jobs, watching {metric}")
        self.progress = Progress(
            BarColumn(20),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self.screen,
            transient=True,
            disable=not self.screen.is_terminal,
            refresh_per_second=2,
            speed_estimate_period=float("inf"),
        )
        sweep = self.progress.add_task(f"0/{num_jobs} jobs", total=num_jobs)
        self.progress.advance(sweep, 0)  # the speed counts from here
        self.progress.start()

    def job_started(self, name: str) -> None:
        """Show that the job runs."""
        self.progress.add_task(name, total=None)
        if not self.screen.is_terminal:
            self.say(f"started  {name}")

    def job_ended(self, outcome: Outcome) -> None:
        """Print one line with status, metric, duration and error, and update the progress."""
        self.outcomes.append(outcome)
        sweep, *running = self.progress.tasks
        if outcome.skipped:  # it does not count for the speed
            self.progress.reset(sweep.id, completed=len(self.outcomes))
        self.progress.advance(sweep.id, not outcome.skipped)
        for job in running:
            if job.description == outcome.name:
                self.progress.remove_task(job.id)
        count, value = f"{len(self.outcomes)}/{sweep.total} jobs", outcome.served(self.metric)
        parts = [
            f"{count}  {outcome.status}  {outcome.name}",
            "" if value is None else f"{heading(self.metric)} {format_figure(self.metric, value)}",
            "done before" if outcome.skipped else duration_text(outcome.seconds),
            f"towers of {outcome.reused_from}" if outcome.reused_from else "",
            f"about {duration_text(sweep.time_remaining)} left" if sweep.time_remaining else "",
            outcome.error or "",
        ]
        style = console_tables.STATUS_STYLES.get(outcome.status, "")
        self.say(Text("  ".join(filter(None, parts)), style))
        best = None if differ_in_seed_only(self.outcomes) else best_outcome(self.outcomes, self.metric)
        if best is not None:
            count += f"  best so far {format_figure(self.metric, best.served(self.metric))}  {best.name}"
        self.progress.update(sweep.id, description=count)

    def sweep_ended(self, summary: SweepSummary) -> None:
        """Print the table, failures, means over seeds and the best job, and the next commands."""
        self.close()
        look = summary.first_look
        self.say(console_tables.recipes_table(look) if look else console_tables.sweep_table(summary))
        for each in summary.outcomes:
            if each.status == "failed":
                name = f"{each.name}  {summary.settings(each.name)}".rstrip()
                self.say(f"FAILED      {name}: {each.error}; see {each.folder / TRAIN_LOG}")
        for line in summary.lines():
            self.say(line)
        best = None if summary.best is None else summary.folder / summary.best.job
        self._say_next(summary.folder, summary.folder, best)


def make_console(mode: str) -> Console:
    """Return the console of a value of the setting `console`, or of `silent`, for jobs of a sweep."""
    consoles: dict[str, type[Console]] = {"quiet": Quiet, "jsonl": JsonLines, "silent": Console}
    return consoles[mode]() if mode in consoles else Rich(has_details=mode == "full")


@contextlib.contextmanager
def logging_console() -> Iterator[Console]:
    """Show what a command logs, from INFO on, in the mode `full`."""
    log = logging.getLogger("twotower")
    level = log.level
    with make_console("full") as console:
        log.addHandler(console)
        log.setLevel("INFO")
        try:
            yield console
        finally:
            log.removeHandler(console)
            log.setLevel(level)
