"""Consoles by the setting `console`: `rich`, `quiet`, `jsonl`, and `silent` for jobs of a sweep."""

import datetime
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.reports.console.console import (
    NOTHING,
    Console,
    Findings,
    counted,
    differ_in_seed_only,
    for_screen,
    form_of,
)
from twotower.reports.console.rich import Rich
from twotower.runs.higher_is_better import INDEX_COSTS
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result
from twotower.runs.run_files import TRAIN_LOG

RESULT_KEYS = (
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


class _JsonLines(Console):
    """One JSON object per event, with `time` and `event`; infinity and NaN are null."""

    def handler(self) -> logging.Handler:
        """Return a handler that emits `log` events, and `epoch` events for records with fields."""
        handler = _LogEvents()
        handler.addFilter(for_screen)
        return handler

    def say(self, text: str) -> None:
        _emit("log", level="info", text=text)

    def audit(self, rows: Sequence[tuple[str, str]]) -> None:
        _emit("audit", rows=dict(rows))

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Emit metrics, index and timing; slices, curves and versions are in `result.json`."""
        shown = result.plain(*RESULT_KEYS)
        shown.get("index", {}).pop("points", None)
        _emit("result", folder=str(folder), **shown)

    def step(self, name: str, lines: Sequence[str], fields: Mapping[str, Any]) -> None:
        """Emit what a step of the walkthrough came to."""
        _emit("walkthrough", step=name, **fields)

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        super().sweep_started(folder, num_jobs, metric, num_trainings)
        _emit(
            "sweep_started", folder=str(folder), num_jobs=num_jobs, metric=metric, num_trainings=num_trainings
        )

    def job_started(self, name: str, tries: str = "") -> None:
        _emit("job_started", name=name, tries=tries)

    def job_ended(self, outcome: Outcome) -> None:
        _emit("job_ended", **vars(outcome))

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Emit the best job, counts by status, failures, means over seeds, and findings of a search.

        There is no best job if only the seed varies or a search has several objectives. If only the index
        varies, `pareto` has the Pareto front of metric, latency and bytes.
        """
        best = findings.winner(outcomes, self.metric)
        _emit(
            "sweep_ended",
            seconds=seconds,
            metric=self.metric if best is None else best.metric,
            best=None if best is None else best.job,
            value=None if best is None else best.value,
            pareto=[each.name for each in findings.indexes(outcomes, self.metric)] or None,
            counts=counted(outcomes),
            failed=[vars(outcome) for outcome in outcomes if outcome.status == "failed"],
            seeds=[vars(each) for each in findings.seeds],
            search=findings.search or None,
            first_look=findings.look or None,
        )


class _LogEvents(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            _emit("epoch", **fields)
        else:
            _emit("log", level=record.levelname.lower(), text=record.getMessage())


def _emit(event: str, /, **fields: Any) -> None:
    """Print one event; `time` is ISO 8601 with the offset from UTC."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
    text = json.dumps({"time": None, "event": None, **fields} | {"time": now, "event": event}, default=_plain)
    print(json.dumps(json.loads(text, parse_constant=lambda _: None)), flush=True)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


SHOWN = ("test/recall_at_20", "test/ndcg_at_20", "index/recall_at_100", "index/latency_ms_p50")


class _Quiet(Console):
    """One last line with status, figures and folder."""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        figures = result.final_figures()
        main = [key for key in SHOWN if key in figures] or [key for key in figures if key[:5] == "test/"][:2]
        shown = (f"{key} {figures[key]:.4f}" for key in main)
        print("  ".join([result.status, *shown, str(folder)]))
        if result.error:
            print(f"{folder}: {result.error}", file=sys.stderr)

    def job_ended(self, outcome: Outcome) -> None:
        if outcome.status == "failed" and not outcome.skipped:
            print(
                f"{outcome.name} failed: {outcome.error}; see {outcome.folder / TRAIN_LOG}", file=sys.stderr
            )

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        counts = ", ".join(f"{count} {status}" for status, count in counted(outcomes).items())
        if len(findings.objectives) > 1:
            for row in findings.best:
                values = "  ".join(
                    f"{key} {form_of(key).format(row['values'][key])}" for key in row["values"]
                )
                print(f"pareto  {row['job']}  {values}  {findings.settings(row['job'])}")
        elif indexes := findings.indexes(outcomes, self.metric):
            for each in indexes:
                figures = (
                    f"{key} {form_of(key).format(each.served(key))}" for key in (self.metric, *INDEX_COSTS)
                )
                print("  ".join(["pareto", each.name, *figures]))
        elif findings.command:
            print(f"command  {findings.command}")
        print(f"{self._summary(outcomes, findings)}  {counts or 'no jobs'}  {self.folder}")

    def _summary(self, outcomes: Sequence[Outcome], findings: Findings) -> str:
        if len(findings.objectives) > 1:
            return f"Pareto set of {len(findings.best)}"
        if indexes := findings.indexes(outcomes, self.metric):
            return f"Pareto set of {len(indexes)}"
        if differ_in_seed_only(outcomes):
            means = (
                f"{each.metric} {each.mean:.4f} [{each.interval[0]:.4f}, {each.interval[1]:.4f}]"
                for each in findings.seeds
            )
            return "  ".join(["mean", *means]) if findings.seeds else "no mean"
        best = findings.winner(outcomes, self.metric)
        if best is None:
            return "no best"
        value = form_of(best.metric).format(best.value)
        return f"best {best.job}  {best.metric} {value}  {findings.settings(best.job)}".rstrip()


CONSOLES: dict[str, type[Console]] = {"rich": Rich, "quiet": _Quiet, "jsonl": _JsonLines, "silent": Console}


def make_console(mode: str) -> Console:
    """Return the console of a mode. Raises InputError: unknown mode."""
    if mode not in CONSOLES:
        raise InputError(f"console: expected rich, quiet or jsonl, got {mode!r}")
    return CONSOLES[mode]()
