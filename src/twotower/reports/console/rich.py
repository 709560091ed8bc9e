"""For people: tables, and while a sweep runs a live view of it where there is a terminal."""

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as Screen
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twotower.config.progress import in_words
from twotower.reports.console import tables
from twotower.reports.console.console import (
    NOTHING,
    Console,
    Findings,
    for_screen,
    form_of,
    only_seeds,
)
from twotower.reports.console.lines import Lines
from twotower.runs.outcome import Outcome, best_of
from twotower.runs.result import TARGET_REPEAT, Result
from twotower.runs.run_files import TRAIN_LOG

RAN_TO_THE_END = "ok", "index_rejected", "pruned"
TAIL_BYTES, MOST_RUNNING, BAR_WIDTH = 4096, 8, 30


class SweepView:
    """What is known of a sweep while it runs."""

    def __init__(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        self.folder, self.metric = folder, metric
        self.num_jobs, self.num_trainings = num_jobs, num_trainings
        self.outcomes: list[Outcome] = []
        self.began: dict[str, float] = {}
        self.most_running = 1

    def started(self, name: str, now: float) -> None:
        """Take note of a job that begins."""
        self.began[name] = now
        self.most_running = max(self.most_running, len(self.began))

    def ended(self, outcome: Outcome) -> None:
        """Take note of a job that ended."""
        self.began.pop(outcome.name, None)
        self.outcomes.append(outcome)

    def keep(self, running: Sequence[str]) -> None:
        """Forget jobs that are not running any more."""
        self.began = {name: began for name, began in self.began.items() if name in running}

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds that the sweep still takes, or None where there is nothing to judge by.

        Jobs that were done before or failed teach nothing. Those that trained and those that took another's
        towers are averaged apart. How many of the jobs to come train is known if the sweep says so; else
        their share is that of the jobs so far.
        """
        ran = [each for each in self.outcomes if not each.skipped and each.status in RAN_TO_THE_END]
        if self.num_jobs is None or not ran:
            return None
        trained = [each.seconds for each in ran if not each.reused_from]
        reused = [each.seconds for each in ran if each.reused_from]
        to_come = max(0, self.num_jobs - len(self.outcomes))
        to_train = to_come * len(trained) / len(ran)
        if self.num_trainings is not None:
            to_train = min(to_come, max(0, self.num_trainings - len(trained)))
        train, reuse = statistics.fmean(trained or reused), statistics.fmean(reused or trained)
        work = to_train * train + (to_come - to_train) * reuse
        spent = sum(min(now - began, max(train, reuse)) for began in self.began.values())
        return max(0.0, work - spent) / self.most_running

    def words(self, now: float) -> str:
        """Return how far the sweep is, in one line."""
        left = self.seconds_left(now)
        best = None if only_seeds(self.outcomes) else best_of(self.outcomes, self.metric)
        parts = [
            f"{len(self.outcomes)}{'' if self.num_jobs is None else f'/{self.num_jobs}'} jobs",
            "" if not left else f"about {in_words(left)} left",
            "" if best is None else f"best so far {best.figure(self.metric):.4f}  {best.name}",
        ]
        return "  ".join(part for part in parts if part)

    def render(self) -> RenderableType:
        """Return the view as it is now; called by the thread that redraws it."""
        now = time.monotonic()
        rows: list[RenderableType] = []
        for name, began in list(self.began.items())[:MOST_RUNNING]:
            line = f"  running  {name}  {in_words(now - began)}  {last_epoch(self.folder / name / TRAIN_LOG)}"
            rows.append(Text(line.rstrip(), style="dim", no_wrap=True, overflow="ellipsis"))
        head = Table.grid(padding=(0, 1))
        total, done = self.num_jobs, len(self.outcomes)
        bar = ProgressBar(total=total, completed=done, width=BAR_WIDTH, pulse=total is None)
        head.add_row(bar, Text(self.words(now), no_wrap=True, overflow="ellipsis"))
        return Group(*rows, head)


def last_epoch(log: Path) -> str:
    """Return what the last epoch line of a run's log says, or nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    epochs = [line.partition("twotower: ")[2] for line in lines if " epoch " in line]
    return epochs[-1] if epochs else ""


WIDTH_OF_FILES = 240
"""Nothing that goes to a file or a pipe needs folding at 80 columns."""

SWEEP = "sweep.json"


class Rich(Console):
    """Tables and lines, and one live view at the bottom of a terminal."""

    def __init__(self) -> None:
        self.screen = Screen(soft_wrap=True, highlight=False, markup=False, emoji=False)
        if not self.screen.is_terminal:
            self.screen.width = WIDTH_OF_FILES
        self.lines = Lines()
        self.lines.addFilter(for_screen)
        self.live: Live | None = None
        self.view: SweepView | None = None

    def close(self) -> None:
        """End the live view."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def handler(self) -> logging.Handler:
        """Return a handler that prints plain lines."""
        return self.lines

    def draw(self, text: str) -> None:
        """Draw a line that the next takes the place of."""
        self.lines.draw(text)

    def say(self, text: str) -> None:
        """Print one line."""
        self.screen.print(text)

    def step(self, name: str, lines: Sequence[str], fields: Mapping[str, Any]) -> None:
        """Print the lines."""
        for line in lines:
            self.screen.print(line)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print the audit as a table."""
        self.screen.print(tables.audit_table(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print model and baselines on the test split, then the index, then where all that is."""
        if result.metrics:
            self.screen.print(tables.quality_table(result))
            if TARGET_REPEAT in result.slices.get("test", {}):
                self.screen.print(tables.repeats_table(result))
            if result.evaluated.get("test", {}).get("labelled"):
                self.screen.print(tables.label_table(result))
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
        super().sweep_started(folder, num_jobs, metric, num_trainings)
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
        if len(findings.objectives) > 1 and findings.best:
            self.screen.print(tables.pareto_table(findings))
            self.say(f"commands    of each, ready to be typed: search.best in {self.folder / SWEEP}")
            return
        best = findings.winner(outcomes, self.metric)
        if best is None:
            return
        self.say(f"best        {best.job}  {best.metric} {form_of(best.metric).format(best.value)}")
        for line in filter(None, (findings.settings(best.job), self.folder / best.job)):
            self.say(f"            {line}")
        if findings.best:
            self.say(f"again       {findings.best[0]['command']}")
