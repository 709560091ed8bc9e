"""One line a run or a sweep on standard output, for scripts; failures on standard error."""

import sys
from collections.abc import Sequence
from pathlib import Path

from twotower.reports.console.console import Console
from twotower.reports.console.findings import NOTHING, Findings, counted, form_of, only_seeds
from twotower.runs.outcome import Outcome
from twotower.runs.result import Result
from twotower.runs.run_files import TRAIN_LOG

SHOWN = ("test/recall_at_20", "test/ndcg_at_20", "index/recall_at_100", "index/latency_ms_p50")


class Quiet(Console):
    """The last line says it all: status, figures, folder."""

    def __init__(self) -> None:
        self.folder = Path()
        self.metric = ""

    def result(self, result: Result, folder: Path, output_root: str) -> None:
        """Print the status, the main figures and the folder."""
        figures = result.final_figures()
        main = [key for key in SHOWN if key in figures] or [key for key in figures if key[:5] == "test/"][:2]
        shown = (f"{key} {figures[key]:.4f}" for key in main)
        print("  ".join([result.status, *shown, str(folder)]))
        if result.error:
            print(f"{folder}: {result.error}", file=sys.stderr)

    def sweep_started(
        self, folder: Path, num_jobs: int | None, metric: str, num_trainings: int | None = None
    ) -> None:
        """Remember what the last line names."""
        self.folder, self.metric = folder, metric

    def job_ended(self, outcome: Outcome) -> None:
        """Print a failure to standard error."""
        if outcome.status == "failed" and not outcome.skipped:
            print(
                f"{outcome.name} failed: {outcome.error}; see {outcome.folder / TRAIN_LOG}", file=sys.stderr
            )

    def sweep_ended(self, outcomes: Sequence[Outcome], seconds: float, findings: Findings = NOTHING) -> None:
        """Print the best job, and how many ended how; before it, what a search says of its best trials."""
        counts = ", ".join(f"{count} {status}" for status, count in counted(outcomes).items())
        if len(findings.objectives) > 1:
            for row in findings.best:
                values = "  ".join(
                    f"{key} {form_of(key).format(row['values'][key])}" for key in row["values"]
                )
                print(f"pareto  {row['job']}  {values}  {findings.settings(row['job'])}")
        elif findings.best:
            print(f"command  {findings.best[0]['command']}")
        print(f"{self._found(outcomes, findings)}  {counts or 'no jobs'}  {self.folder}")

    def _found(self, outcomes: Sequence[Outcome], findings: Findings) -> str:
        if len(findings.objectives) > 1:
            return f"Pareto set of {len(findings.best)}"
        if only_seeds(outcomes):
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
