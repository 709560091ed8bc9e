"""What one row of the comparison stands for: a run, all seeds of a configuration, or a baseline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twotower.reports.compare.record import RunRecord
from twotower.runs.directions import higher_is_better
from twotower.runs.folder_name import without_seed
from twotower.runs.result import is_number

Kind = Literal["run", "configuration", "baseline"]


@dataclass(frozen=True)
class Entry:
    """One row.

    Args:
        name: short, as it is shown.
        kind: what it stands for.
        runs: one for a run, one a seed for a configuration, and the run that recorded it for a baseline.
        figures: by key; of several seeds the means.
    """

    name: str
    kind: Kind
    runs: tuple[RunRecord, ...]
    figures: Mapping[str, float]

    @property
    def run(self) -> RunRecord:
        """Return the first of its runs."""
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of its runs; none for a baseline."""
        return [] if self.kind == "baseline" else [run.seed for run in self.runs if run.seed is not None]


def direction_of(key: str, entries: Iterable[Entry]) -> bool | None:
    """Say whether the higher of two figures of these rows is the better one; None where neither is."""
    return higher_is_better(key, (run.result.higher_is_better for entry in entries for run in entry.runs))


def run_entries(records: Sequence[RunRecord], names: Mapping[Path, str]) -> list[Entry]:
    """Return one row a run."""
    return [Entry(names[record.folder], "run", (record,), record.figures) for record in records]


def configuration_entries(
    records: Sequence[RunRecord], names: Mapping[Path, str]
) -> tuple[list[Entry], list[str]]:
    """Return one row a configuration, over the runs that ended, and notes on those that did not.

    A configuration none of whose runs ended is a row of its first run. Of two runs with one seed the later
    counts.
    """
    entries, notes = [], []
    for runs in by_configuration(records):
        ended = {run.seed: run for run in runs if run.ended}
        if not ended:
            entries.append(Entry(names[runs[0].folder], "configuration", (runs[0],), {}))
            continue
        members = tuple(ended.values())
        name = names[members[0].folder]
        if len(members) > 1:
            name = f"{without_seed(name) or name} ({len(members)} seeds)"
        entries.append(Entry(name, "configuration", members, _means(run.figures for run in members)))
        missing = [run for run in runs if not run.ended]
        notes += [f"{names[run.folder]}: {run.problem}; not in the mean of {name}" for run in missing]
        if repeats := sum(run.ended for run in runs) - len(members):
            notes.append(f"{name}: {repeats} more runs repeat a seed; the latest of each seed counts")
    return entries, notes


def by_configuration(records: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Return the runs of each configuration; one that ended on other data is another configuration.

    A run that has not ended does not say its data: it joins the first that its settings fit.
    """
    each = list(records)
    groups: dict[tuple[str, object], list[RunRecord]] = {}
    for record in each:
        if record.ended:
            groups.setdefault((record.configuration, record.data), []).append(record)
    for record in each:
        if not record.ended:
            fitting = [key for key in groups if key[0] == record.configuration and record.configuration]
            groups.setdefault(fitting[0] if fitting else (str(record.folder), None), []).append(record)
    return list(groups.values())


def baseline_entries(records: Sequence[RunRecord]) -> list[Entry]:
    """Return one row for each built-in baseline that these runs, of one data set, recorded.

    The first run that has a baseline lends it; all runs on the same data have the same.
    """
    found: dict[str, Entry] = {}
    for record in records:
        for name, figures in record.result.baselines.items() if record.ended else ():
            known = {key: value for key, value in figures.items() if is_number(value)}
            found.setdefault(name, Entry(name, "baseline", (record,), known))
    return list(found.values())


def _means(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    each = list(figures)
    shared = [key for key in each[0] if all(key in other for other in each)]
    return {key: sum(other[key] for other in each) / len(each) for key in shared}
