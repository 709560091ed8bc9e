"""One JSON object a line on standard output, for programs."""

import datetime
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.reports.console.console import Console, OnScreen
from twotower.reports.console.findings import NOTHING, Findings
from twotower.reports.console.quiet import counted
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
        return _LogEvents()

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
        emit("job_ended", **_fields(outcome))

    def beat(self, running: Sequence[str]) -> None:
        """Emit nothing."""

    def close(self) -> None:
        """Nothing is drawn."""

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
            failed=[_fields(outcome) for outcome in outcomes if outcome.status == "failed"],
            seeds=[dict(vars(each)) for each in findings.seeds],
            search=findings.search or None,
        )


class _LogEvents(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(OnScreen())

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record as an event."""
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            emit("epoch", **fields)
        else:
            emit("log", level=record.levelname.lower(), text=record.getMessage())


def _fields(outcome: Outcome) -> dict[str, Any]:
    return dict(vars(outcome))


def emit(event: str, /, **fields: Any) -> None:
    """Print one event; its `time` is ISO 8601 with the offset from UTC."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    line = json.dumps(
        _plain({"time": None, "event": None, **fields} | {"time": now, "event": event}), allow_nan=False
    )
    print(line, flush=True)


def _plain(value: Any) -> Any:
    """Return what JSON can hold; an unknown object becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
