"""Runs side by side, as every form of output shows them, and what to know of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from twotower.reports.compare.entries import Entry, column_of, direction_of
from twotower.reports.compare.judge import BETTER, NOT_COMPARABLE, NOT_TESTED, WORSE, Difference, Judgement
from twotower.reports.compare.paired import Luck, Spread
from twotower.reports.compare.record import DAMAGED, UNENDED, RunRecord
from twotower.runs.directions import higher_is_better

ONE_SEED = (
    "every configuration has one seed here, so better and worse are of these very runs; another seed may turn"
    " a small difference (scripts/train.py seeds=5 shows how far)"
)
NO_DIRECTION = (
    "has no better direction, as far as these runs say (higher_is_better of result.json, from the metric's"
    " class): rows stand from the highest on, and none is called better"
)


@dataclass(frozen=True)
class Options:
    """What is asked of a comparison; see the command's help."""

    metric: str | None = None
    columns: tuple[str, ...] | None = None
    baseline: str | None = None
    with_baselines: bool = False
    by: Literal["run", "configuration"] = "run"
    pairs: bool = False
    tests: bool = True


@dataclass(frozen=True)
class Row:
    """One line of the table; of a run without figures the verdict is its state."""

    entry: Entry
    value: float | None
    verdict: str
    reason: str = ""
    difference: Difference | None = None
    spread: Spread | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, as every form of output shows them.

    The telling keys come first; of the rows the best, then those not comparable, then those without figures.
    """

    metric: str
    columns: list[str]
    keys: list[str]
    rows: list[Row]
    pairs: list[Difference]
    baseline: Entry | None
    chosen: str
    judgement: Judgement
    luck: Luck | None
    records: list[RunRecord]
    notes: list[str]

    def higher_is_better(self, key: str) -> bool | None:
        """Say whether the higher of two figures is the better one; None where neither is."""
        return higher_is_better(key, (record.result.higher_is_better for record in self.records))


def notes_of(options: Options, metric: str, rows: Sequence[Row], num_with_seeds: int) -> list[str]:
    """Return what to know of a comparison, the number of its configurations with several seeds given."""
    notes = []
    if options.tests and column_of(metric) is None:
        notes.append(f"{metric} is no mean over users of the test split, so differences in it are not tested")
    if direction_of(metric, [row.entry for row in rows]) is None:
        notes.append(f"{metric} {NO_DIRECTION}")
    if num_with_seeds and options.by == "run":
        several = "1 configuration has" if num_with_seeds == 1 else f"{num_with_seeds} configurations have"
        notes.append(f"{several} several seeds; by=configuration tests with all of them, seeds as luck too")
    elif not num_with_seeds and any(row.verdict in (BETTER, WORSE) for row in rows):
        notes.append(ONE_SEED)
    return [*notes, *_notes_on_rows(rows)]


def _notes_on_rows(rows: Sequence[Row]) -> list[str]:
    troubles: dict[str, list[str]] = {}
    for row in rows:
        trouble = ""
        if row.entry.run.state in (DAMAGED, UNENDED):
            trouble = f"{row.reason or row.verdict}; shown without figures"
        elif row.verdict == NOT_COMPARABLE:
            trouble = f"not comparable with the baseline: {row.reason}"
        elif row.verdict == NOT_TESTED:
            trouble = f"not tested against the baseline: {row.reason}"
        if trouble:
            name = str(row.entry.run.folder) if row.entry.trained else row.entry.name
            troubles.setdefault(trouble, []).append(name)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {trouble}"
        for trouble, names in troubles.items()
    ]
