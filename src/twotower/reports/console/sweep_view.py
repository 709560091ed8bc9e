"""Live view of a sweep: running jobs, progress, best job so far, time left."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twotower.config.progress import in_words
from twotower.reports.console.console import differ_in_seed_only
from twotower.runs.outcome import Outcome, best_of
from twotower.runs.run_files import TRAIN_LOG

RAN_TO_THE_END = "ok", "index_rejected", "pruned"
TAIL_BYTES, MOST_RUNNING, BAR_WIDTH = 4096, 8, 30


class SweepView:
    """State of a running sweep."""

    def __init__(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        self.folder, self.metric = folder, metric
        self.num_jobs, self.num_trainings = num_jobs, num_trainings
        self.outcomes: list[Outcome] = []
        self.began: dict[str, float] = {}
        self.labels: dict[str, str] = {}
        self.most_running = 1

    def started(self, name: str, now: float, tries: str = "") -> None:
        """Add a job that starts."""
        self.began[name], self.labels[name] = now, tries or name
        self.most_running = max(self.most_running, len(self.began))

    def ended(self, outcome: Outcome) -> None:
        """Add the outcome of a job."""
        self.began.pop(outcome.name, None)
        self.outcomes.append(outcome)

    def keep(self, running: Sequence[str]) -> None:
        """Remove jobs that no longer run."""
        self.began = {name: began for name, began in self.began.items() if name in running}

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated seconds until the sweep ends, or None without completed jobs.

        Skipped and failed jobs are ignored. Jobs that trained and jobs that reused towers are averaged
        separately. Without a known number of trainings, their share is that of the jobs so far.
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
        """Return the progress in one line."""
        left = self.seconds_left(now)
        best = None if differ_in_seed_only(self.outcomes) else best_of(self.outcomes, self.metric)
        parts = [
            f"{len(self.outcomes)}{'' if self.num_jobs is None else f'/{self.num_jobs}'} jobs",
            "" if not left else f"about {in_words(left)} left",
            "" if best is None else f"best so far {best.served(self.metric):.4f}  {best.label}",
        ]
        return "  ".join(part for part in parts if part)

    def render(self) -> RenderableType:
        """Return the current view; called by the thread that redraws it."""
        now = time.monotonic()
        rows: list[RenderableType] = []
        for name, began in list(self.began.items())[:MOST_RUNNING]:
            label, epoch = self.labels[name], last_epoch(self.folder / name / TRAIN_LOG)
            # The settings of a trial fill a line.
            between = "  " if label == name else f"\n{'':<12}"
            line = f"  {in_words(now - began):<8}  {label}{between if epoch else ''}{epoch}"
            rows.append(Text(line, style="dim", no_wrap=True, overflow="ellipsis"))
        head = Table.grid(padding=(0, 1))
        total, done = self.num_jobs, len(self.outcomes)
        bar = ProgressBar(total=total, completed=done, width=BAR_WIDTH, pulse=total is None)
        head.add_row(bar, Text(self.words(now), no_wrap=True, overflow="ellipsis"))
        return Group(*rows, head)


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
