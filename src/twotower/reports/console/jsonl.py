"""One JSON object a line on standard output, for programs."""

import datetime
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.reports.console.console import Console, for_screen
from twotower.reports.console.findings import NOTHING, Findings, counted
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result

OF_A_RESULT = (
    "status",
    "error",
    "overrides",
    "fingerprint",
    "seed",
    "training_reused_from",
    "metrics",
    "higher_is_better",
    "intervals",
    "baselines",
    "cold_start",
    "training",
    "timing",
    "index",
)


class JsonLines(Console):
    """Every event has a `time` and an `event`; numbers that JSON cannot hold are null."""

    def __init__(self) -> None:
        self.metric = ""

    def handler(self) -> logging.Handler:
        """Return a handler whose lines are `log` events, and `epoch` events where a record has fields."""
        handler = _LogEvents()
        handler.addFilter(for_screen)
        return handler

    def say(self, text: str) -> None:
        """Emit a log line."""
        emit("log", level="info", text=text)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        """Emit the audit as one object."""
        emit("audit", rows=dict(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Emit the figures; slices, curves and versions are in `result.json`."""
        shown = result.plain(*OF_A_RESULT)
        shown.get("index", {}).pop("points", None)
        emit("result", folder=str(folder), **shown)

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Emit what is to come."""
        self.metric = metric
        emit(
            "sweep_started", folder=str(folder), num_jobs=num_jobs, metric=metric, num_trainings=num_trainings
        )

    def job_started(self, name: str) -> None:
        """Emit the job's name."""
        emit("job_started", name=name)

    def job_ended(self, outcome: Outcome) -> None:
        """Emit the whole outcome."""
        emit("job_ended", **vars(outcome))

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Emit the best job, how many ended how, every failure, means over seeds, and what a search found.

        There is no best job where only the seed varies, or where a search has several objectives.
        """
        best = findings.winner(outcomes, self.metric)
        emit(
            "sweep_ended",
            seconds=seconds,
            metric=self.metric if best is None else best.metric,
            best=None if best is None else best.job,
            value=None if best is None else best.value,
            counts=counted(outcomes),
            failed=[vars(outcome) for outcome in outcomes if outcome.status == "failed"],
            seeds=[vars(each) for each in findings.seeds],
            search=findings.search or None,
        )


class _LogEvents(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            emit("epoch", **fields)
        else:
            emit("log", level=record.levelname.lower(), text=record.getMessage())


def emit(event: str, /, **fields: Any) -> None:
    """Print one event; its `time` is ISO 8601 with the offset from UTC.

    What JSON cannot hold becomes its text, and a number that it cannot hold null.
    """
    now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    text = json.dumps({"time": None, "event": None, **fields} | {"time": now, "event": event}, default=_plain)
    print(json.dumps(json.loads(text, parse_constant=lambda _: None)), flush=True)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
