"""The live view of a sweep: how far it is, how long it still takes, what is running, the best so far."""

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twotower.reports.console.findings import only_seeds
from twotower.runs.outcome import Outcome, best_of
from twotower.runs.run_files import TRAIN_LOG

TAIL_BYTES, MOST_RUNNING, BAR_WIDTH = 4096, 8, 30


class TimeLeft:
    """An estimate from the jobs that ran; those that were done before or failed teach nothing.

    Jobs that trained and jobs that took another's towers are averaged apart. How many of the jobs to come
    train is known if the sweep says so; else their share is that of the jobs so far.

    Args:
        num_jobs: in all, or None where it is not known.
        num_trainings: how many of them train, or None where it is not known.
    """

    def __init__(self, num_jobs: int | None, num_trainings: int | None = None) -> None:
        self.num_jobs = num_jobs
        self.num_trainings = num_trainings
        self.num_ended = 0
        self.num_skipped = 0
        self.most_running = 1
        self.began: dict[str, float] = {}
        self.trained: list[float] = []
        self.reused: list[float] = []

    def started(self, name: str, now: float) -> None:
        """Take note of a job that begins."""
        self.began[name] = now
        self.most_running = max(self.most_running, len(self.began))

    def ended(self, outcome: Outcome) -> None:
        """Take note of a job that ended."""
        self.began.pop(outcome.name, None)
        self.num_ended += 1
        if outcome.skipped:
            self.num_skipped += 1
        elif outcome.finished or outcome.status == "pruned":
            (self.reused if outcome.reused_from else self.trained).append(outcome.seconds)

    def seconds(self, now: float) -> float | None:
        """Return the estimate, or None where there is nothing to judge by.

        Args:
            now: on the clock of `started`.
        """
        if self.num_jobs is None or not (self.trained or self.reused):
            return None
        to_come = max(0, self.num_jobs - self.num_ended)
        share = len(self.trained) / (len(self.trained) + len(self.reused))
        to_train = to_come * share
        if self.num_trainings is not None:
            to_train = min(to_come, max(0, self.num_trainings - len(self.trained)))
        train, reuse = _mean(self.trained or self.reused), _mean(self.reused or self.trained)
        work = to_train * train + (to_come - to_train) * reuse
        spent = sum(min(now - began, max(train, reuse)) for began in self.began.values())
        return max(0.0, work - spent) / self.most_running


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def in_words(seconds: float) -> str:
    """Return a duration to read: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class SweepView:
    """What is known of a sweep while it runs.

    Args:
        folder: of the sweep.
        num_jobs: in all, or None.
        metric: of the validation split, that says which job is best.
        num_trainings: how many jobs train, or None.
    """

    def __init__(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        self.folder = folder
        self.metric = metric
        self.time_left = TimeLeft(num_jobs, num_trainings)
        self.outcomes: list[Outcome] = []

    def started(self, name: str, now: float) -> None:
        """Take note of a job that begins."""
        self.time_left.started(name, now)

    def ended(self, outcome: Outcome) -> None:
        """Take note of a job that ended."""
        self.time_left.ended(outcome)
        self.outcomes.append(outcome)

    def keep(self, running: Sequence[str]) -> None:
        """Forget jobs that are not running any more."""
        began = self.time_left.began
        for name in began.keys() - set(running):
            began.pop(name, None)

    def words(self, now: float) -> str:
        """Return how far the sweep is, in one line."""
        left = self.time_left.seconds(now)
        num_jobs = self.time_left.num_jobs
        best = None if only_seeds(self.outcomes) else best_of(self.outcomes, self.metric)
        parts = [
            f"{self.time_left.num_ended}{'' if num_jobs is None else f'/{num_jobs}'} jobs",
            "" if not left else f"about {in_words(left)} left",
            "" if best is None else f"best so far {best.figure(self.metric):.4f}  {best.name}",
        ]
        return "  ".join(part for part in parts if part)

    def render(self) -> RenderableType:
        """Return the view as it is now; called by the thread that redraws it."""
        now = time.monotonic()
        rows: list[RenderableType] = []
        for name, began in list(self.time_left.began.items())[:MOST_RUNNING]:
            line = f"  running  {name}  {in_words(now - began)}  {last_epoch(self.folder / name / TRAIN_LOG)}"
            rows.append(Text(line.rstrip(), style="dim", no_wrap=True, overflow="ellipsis"))
        head = Table.grid(padding=(0, 1))
        total = self.time_left.num_jobs
        bar = ProgressBar(
            total=total, completed=self.time_left.num_ended, width=BAR_WIDTH, pulse=total is None
        )
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
