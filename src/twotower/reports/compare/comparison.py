"""Runs side by side: what a comparison is, which settings tell runs apart, and the lines to read with it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from twotower.reports.compare.entries import (
    Entry,
    column_of,
    direction_of,
    label,
    validation_key,
    written,
)
from twotower.reports.compare.judge import BETTER, NOT_COMPARABLE, NOT_TESTED, WORSE, Difference, Judgement
from twotower.reports.compare.paired import Luck, Spread
from twotower.reports.compare.record import DAMAGED, UNENDED, RunRecord, Scalar
from twotower.reports.compare.searches import SearchRecord
from twotower.runs.directions import higher_is_better
from twotower.runs.fingerprint import NOT_SHAPING, key_of

ONE_SEED = (
    "every configuration has one seed here, so better and worse are of these very runs; another seed may turn"
    " a small difference (twotower train seeds=5 shows how far)"
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

    The telling keys come first; of the rows the best by validation, then those not comparable, then those
    without figures.
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
    searches: list[SearchRecord] = field(default_factory=list)

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
    return [*notes, *_troubles(rows)]


def shared_note(rows: Sequence[Row]) -> str:
    """Return what users wrote of all these runs alike, as of those of one sweep."""
    notes = {row.entry.run.note for row in rows if row.entry.trained}
    return notes.pop() if len(notes) == 1 else ""


def own_notes(rows: Sequence[Row]) -> list[str]:
    """Return what users wrote of their runs, each text once."""
    if note := shared_note(rows):
        return [f"of all these runs: {note}"]
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.entry.trained and row.entry.run.note:
            found.setdefault(row.entry.run.note, []).append(row.entry.name)
    return [f"{_several(names)}: {note}" for note, names in found.items()]


def _several(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _troubles(rows: Sequence[Row]) -> list[str]:
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
    return [f"{_several(names)}: {trouble}" for trouble, names in troubles.items()]


MOST_IN_CONSOLE = 6
IGNORED = NOT_SHAPING | {"sweep", "launcher", "resume", "rerun"}
"""Root keys that say how a run was started or shown."""
JUDGING = {"metrics", "baselines"}
"""Root keys that change what is measured of a model, not the model."""


def differing_keys(records: Sequence[RunRecord]) -> list[str]:
    """Return the flattened keys whose values differ between the runs, the telling ones first.

    First what users typed most often, then choices of a group, then the rest by how many values they have;
    what changes the measuring alone comes after that, and the seed last.
    """
    known = [record for record in records if record.settings]
    keys = dict.fromkeys(key for record in known for key in record.settings)
    different = [
        key
        for key in keys
        if key.split(".")[0] not in IGNORED and len({record.settings.get(key) for record in known}) > 1
    ]
    typed = Counter(key_of(override) for record in known for override in record.result.overrides)
    groups = {key.rpartition(".")[0] for key in keys}

    def place(key: str) -> tuple[bool, bool, int, bool, int, int]:
        num_values = len({record.settings.get(key) for record in known})
        judging = key.split(".")[0] in JUDGING
        return key == "seed", judging, -typed[key], key not in groups, key.count("."), -num_values

    return sorted(different, key=place)


def telling_keys(keys: Sequence[str], records: Sequence[RunRecord], most: int = MOST_IN_CONSOLE) -> list[str]:
    """Return the keys that users varied, and a few of the others.

    Of the others one that an earlier key settles is left out, as `index` settles `index.nlist`. What users
    varied is shown in any case: in a search each trial has a rate of its own, which settles all else.
    """
    columns: dict[str, list[Scalar | None]] = {
        key: [record.settings.get(key) for record in records if record.settings] for key in keys
    }
    typed = {key_of(override) for record in records for override in record.result.overrides}
    kept: list[str] = []
    for key in keys:
        settled = any(_settles(columns[other], columns[key]) for other in kept)
        if key in typed or (len(kept) < most and not settled):
            kept.append(key)
    return kept


def _settles(one: Sequence[Scalar | None], other: Sequence[Scalar | None]) -> bool:
    """Say whether the value of one key leaves no choice to the other."""
    return len(set(zip(one, other, strict=True))) == len(set(one))


def summary(comparison: Comparison, own: bool = True) -> list[str]:
    """Return the lines to read with the table: baseline, tests, seeds, and the notes, users' own if asked."""
    lines = []
    if comparison.baseline is not None:
        lines.append(f"baseline: {comparison.baseline.name} ({comparison.chosen})")
    if any(validation_key(comparison.metric) in row.entry.figures for row in comparison.rows):
        lines.append(f"rows: sorted by {label(validation_key(comparison.metric))}")
    judgement, luck = comparison.judgement, comparison.luck
    if judgement.num_tests:
        lines.append(
            f"tests: {judgement.num_tests} over {judgement.num_users:,} users, p-values corrected for their"
            " number (Holm); each interval is of its difference alone"
        )
    if luck is not None:
        sd, reach = written(comparison.metric, luck.sd), written(comparison.metric, luck.reach)
        lines.append(
            f"seeds: sd {sd} over {luck.num_seeds} seeds, so that other seeds alone may well set two single"
            f" runs {reach} apart"
        )
    lines += [search.told() for search in comparison.searches]
    notes = [*comparison.notes, *(own_notes(comparison.rows) if own else ())]
    return [*lines, *(f"note: {note}" for note in notes)]
