"""Consoles without tables: for jobs of a sweep, for programs, and for a few last lines."""

import datetime
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from twotower.evaluation.user_values import metric_k
from twotower.experiments.console.sweep_summary import SweepSummary
from twotower.experiments.runs.outcome import Outcome
from twotower.experiments.runs.result import BEST_VALID, TEST, VALID, Result
from twotower.experiments.runs.run_files import TRAIN_LOG


class Console(logging.Handler):
    """Shows the progress of runs and sweeps, and log records from INFO on, except those with `for_file`.

    This class shows warnings on standard error and nothing else: the console of a job within a sweep. As a
    context, it closes a live view.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a log record, unless it is for the file only."""
        if not getattr(record, "for_file", False):
            level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
            self.log(record, f"{level}{self.format(record)}")

    def log(self, record: logging.LogRecord, line: str) -> None:
        """Show a log record; `line` is its text, after the level of a warning or an error."""
        if record.levelno >= logging.WARNING:
            print(line, file=sys.stderr)

    def say(self, text: str) -> None:
        """Show one line."""

    def draw(self, text: str) -> None:
        """Replace the line drawn before; without a terminal, do nothing."""

    def heading(self, text: str) -> None:
        """Show the name of the part that follows."""

    def audit(self, summary: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str]]) -> None:
        """Show the audit of the split, names and values, or its summary."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Show the result of a run."""

    def sweep_started(self, folder: Path, num_jobs: int, metric: str) -> None:
        """Show that a sweep starts: its number of jobs and its metric."""

    def job_started(self, name: str) -> None:
        """Show that a job starts."""

    def job_ended(self, outcome: Outcome) -> None:
        """Show how a job ended, also one that an earlier start of the sweep completed."""

    def sweep_ended(self, summary: SweepSummary) -> None:
        """Show the results of a sweep."""


RESULT_KEYS = (
    *("status", "error", "overrides", "fingerprint", "seed", "training_reused_from", "metrics"),
    *("higher_is_better", "intervals", "baselines", "baselines_tuning", "cold_start", "training"),
    *("timing", "index", "windows", "windows_summary", "test_looks", "feature_importance", "new_items"),
)


class JsonLines(Console):
    """One JSON object per event, with `time` and `event`; infinity and NaN are null."""

    def log(self, record: logging.LogRecord, line: str) -> None:
        """Emit an `epoch` event for a record with fields, else a `log` event."""
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            _emit("epoch", **fields)
        else:
            _emit("log", level=record.levelname.lower(), text=record.getMessage())

    def say(self, text: str) -> None:
        _emit("log", level="info", text=text)

    def audit(self, summary: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str]]) -> None:
        _emit("audit", rows=dict(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Emit metrics, index and timing; slices, curves and versions are in `result.json`."""
        shown = result.plain(*RESULT_KEYS)
        shown.get("index", {}).pop("points", None)
        _emit("result", folder=str(folder), **shown)

    def sweep_started(self, folder: Path, num_jobs: int, metric: str) -> None:
        _emit("sweep_started", folder=str(folder), metric=metric, num_jobs=num_jobs)

    def job_started(self, name: str) -> None:
        _emit("job_started", name=name)

    def job_ended(self, outcome: Outcome) -> None:
        _emit("job_ended", **vars(outcome))

    def sweep_ended(self, summary: SweepSummary) -> None:
        best = summary.best
        _emit(
            "sweep_ended",
            seconds=summary.seconds,
            metric=summary.metric if best is None else best.metric,
            best=None if best is None else best.job,
            value=None if best is None else best.value,
            pareto=[each.name for each in summary.pareto] or None,
            counts=summary.counts,
            effects=summary.effects,
            verdicts=summary.verdicts,
            next=summary.next_command(),
            failed=[vars(outcome) for outcome in summary.outcomes if outcome.status == "failed"],
            seeds=[vars(each) for each in summary.seeds],
            search=summary.search or None,
            first_look=summary.first_look or None,
        )


def _emit(event: str, /, **fields: Any) -> None:
    """Print one event; `time` is ISO 8601 with the offset from UTC."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    text = json.dumps({"time": None, "event": None, **fields} | {"time": now, "event": event}, default=_plain)
    print(json.dumps(json.loads(text, parse_constant=lambda _: None)), flush=True)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


INDEX_SHOWN = ("index/recall_at_100", "index/latency_ms_p50")


class Quiet(Console):
    """A few last lines with status, figures and folder."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        figures, monitor = result.final_figures(), result.training.monitor.removeprefix(VALID)
        k = metric_k(monitor)
        test = dict.fromkeys(f"{TEST}/{name}" for name in (monitor, f"recall_at_{k}", f"ndcg_at_{k}"))
        best = [key for key in figures if key.startswith(BEST_VALID)]  # of a hidden test, or a pruned run
        main = [key for key in test if key in figures] or best
        main += [key for key in INDEX_SHOWN if key in figures]
        print("  ".join([result.status, *(f"{key} {figures[key]:.4f}" for key in main), str(folder)]))
        if result.error:
            print(f"{folder}: {result.error}", file=sys.stderr)

    def job_ended(self, outcome: Outcome) -> None:
        if outcome.status == "failed" and not outcome.skipped:
            log = outcome.folder / TRAIN_LOG
            print(f"{outcome.name} failed: {outcome.error}; see {log}", file=sys.stderr)

    def sweep_ended(self, summary: SweepSummary) -> None:
        print(*summary.lines(), sep="\n")
