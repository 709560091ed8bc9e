"""The comparison as every form of output shows it: rows, pairs, and what to know of them."""

from dataclasses import dataclass

from twotower.reports.compare.comparison import Comparison
from twotower.reports.compare.entries import Entry
from twotower.reports.compare.judge import Judgement
from twotower.reports.compare.record import RunRecord
from twotower.reports.compare.seeds import Luck, Spread
from twotower.runs.directions import higher_is_better


@dataclass(frozen=True)
class Options:
    """What is asked of a comparison; see the command's help."""

    metric: str | None = None
    columns: tuple[str, ...] | None = None
    baseline: str | None = None
    with_baselines: bool = False
    by_configuration: bool = False
    pairs: bool = False
    tests: bool = True


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        entry: what it stands for.
        value: the figure compared, None where it has none.
        verdict: against the baseline, or the state of a run without figures.
        reason: more of the same.
        comparison: with the baseline, None for the baseline itself and where there is none.
        spread: over its configuration's seeds.
    """

    entry: Entry
    value: float | None
    verdict: str
    reason: str = ""
    comparison: Comparison | None = None
    spread: Spread | None = None


@dataclass(frozen=True)
class Report:
    """A whole comparison.

    Args:
        metric: key of the figure compared.
        columns: keys of other figures to show.
        keys: the settings that differ, the telling ones first.
        rows: best first, then those that are not comparable, then runs without figures.
        pairs: all pairs, if asked for.
        baseline: the row that the others are set against.
        chosen: how the baseline was chosen, in words.
        judgement: number of tests and users.
        luck: what the seed alone changes, if some configuration has several.
        records: all runs.
        notes: what to know.
    """

    metric: str
    columns: list[str]
    keys: list[str]
    rows: list[Row]
    pairs: list[Comparison]
    baseline: Entry | None
    chosen: str
    judgement: Judgement
    luck: Luck | None
    records: list[RunRecord]
    notes: list[str]

    def higher_is_better(self, key: str) -> bool | None:
        """Say whether the higher of two figures is the better one; None where neither is."""
        return higher_is_better(key, (record.result.higher_is_better for record in self.records))
