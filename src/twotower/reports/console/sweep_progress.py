"""Progress of a sweep at the bottom of a terminal: running jobs, time left, best job so far."""

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from twotower.config.progress import duration_text
from twotower.reports.console.console import differ_in_seed_only
from twotower.runs.outcome import Outcome, best_outcome
from twotower.runs.run_files import TRAIN_LOG

TAIL_BYTES, BAR_WIDTH = 4096, 20
ONE_LINE = {"no_wrap": True, "overflow": "ellipsis"}


class SweepProgress:
    """Collects the outcomes of a sweep, and draws its progress on a terminal.

    Args:
        screen: to draw on; without a terminal, nothing is drawn.
        folder: folder of the sweep.
        num_jobs: number of jobs; None if unknown.
        metric: metric that ranks the jobs.
    """

    def __init__(self, screen: Console, folder: Path, num_jobs: int | None, metric: str) -> None:
        self.folder, self.metric, self.num_jobs = folder, metric, num_jobs
        self.outcomes: list[Outcome] = []
        self.running = Progress(_RunningJob(), console=screen)
        best = TextColumn("{task.description}", table_column=Column(**ONE_LINE), markup=False)  # type: ignore[arg-type]
        self.jobs = Progress(BarColumn(BAR_WIDTH), _TimeLeft(), best, console=screen)
        self.total = self.jobs.add_task("", total=num_jobs, ends=None)
        self.began = time.monotonic()
        self.tasks: dict[str, TaskID] = {}
        self.live: Live | None = None
        if screen.is_terminal:
            views = Group(self.running, self.jobs)
            self.live = Live(views, console=screen, refresh_per_second=2, transient=True)
            self.live.start()

    def started(self, name: str, label: str) -> None:
        """Add a job that starts."""
        self.tasks[name] = self.running.add_task(label, total=None, log=self.folder / name / TRAIN_LOG)

    def ended(self, outcome: Outcome) -> None:
        """Add the outcome of a job."""
        self.outcomes.append(outcome)
        if outcome.name in self.tasks:
            self.running.remove_task(self.tasks.pop(outcome.name))
        ends, num_done = None, len(self.outcomes)
        num_run = sum(not each.skipped for each in self.outcomes)
        if self.num_jobs is not None and num_run:
            now = time.monotonic()
            ends = now + (now - self.began) * (self.num_jobs - num_done) / num_run
        self.jobs.update(self.total, completed=num_done, description=self.best(), ends=ends)

    def best(self) -> str:
        """Return the best job so far in words; empty without one, or if only the seed varies."""
        best = None if differ_in_seed_only(self.outcomes) else best_outcome(self.outcomes, self.metric)
        return "" if best is None else f"best so far {best.served(self.metric):.4f}  {best.label}"

    def line(self) -> str:
        """Return the progress as one line."""
        return f"{_TimeLeft().render(self.jobs.tasks[0])}  {self.best()}".rstrip()

    def close(self) -> None:
        """Remove the drawing; may be called twice."""
        if self.live is not None:
            self.live.stop()


class _TimeLeft(ProgressColumn):
    """Number of jobs, and the time left if the other jobs take as long as those so far."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        """Return the text."""
        of = "" if task.total is None else f"/{task.total:.0f}"
        left = 0.0 if task.fields["ends"] is None else task.fields["ends"] - time.monotonic()
        return Text(
            f"{task.completed:.0f}{of} jobs" + (f"  about {duration_text(left)} left" if left > 0 else "")
        )


class _RunningJob(ProgressColumn):
    """Time, name and last epoch of a running job."""

    max_refresh = 1.0

    def __init__(self) -> None:
        super().__init__(Column(**ONE_LINE))  # type: ignore[arg-type]

    def render(self, task: Task) -> Text:
        """Return the line."""
        parts = [
            f"{duration_text(task.elapsed or 0.0):<12}",
            task.description,
            last_epoch(task.fields["log"]),
        ]
        return Text("  ".join(filter(None, parts)), style="dim")


def last_epoch(log: Path) -> str:
    """Return the last epoch line of a run's log, or an empty text."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    epochs = [line.partition("twotower: ")[2] for line in lines if " epoch " in line]
    return epochs[-1] if epochs else ""
