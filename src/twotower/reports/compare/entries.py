"""What one row of the comparison stands for, its figures by name, and which row is set against the others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twotower.config.errors import InputError
from twotower.config.problems import nearest
from twotower.reports.compare.record import RunRecord
from twotower.runs.directions import higher_is_better
from twotower.runs.folder_name import without_seed
from twotower.runs.result import TEST_EXACT, is_number

DEFAULT = "test/recall_at_20"
COLD_START = "cold_start/"
OF_COLD_START = ("model/cold", "model/warm", "model/all", "content/cold", "random/cold")
"""Of whom and on which items recall is shown where a run held items out of training."""
OF_THE_INDEX = ("index/recall_at_100", "index/latency_ms_p50", "index/bytes_per_item")

SHORT_LABELS = {
    "index/latency_ms_p50": "p50 ms",
    "index/latency_ms_p99": "p99 ms",
    "index/bytes_per_item": "bytes/item",
}


def column_of(key: str) -> str | None:
    """Return the column of per_user.parquet that a key averages, None where users have no such figure."""
    split, _, name = key.rpartition("/")
    return {"test": name, TEST_EXACT: key}.get(split)


def validation_key(key: str) -> str:
    """Return the figure to choose by: of a test metric the one on the validation split, else itself."""
    if key.startswith(COLD_START):  # measured on the test split, too
        return f"valid/{key.rpartition('/')[2]}"
    split, _, name = key.partition("/")
    return f"valid/{name}" if split in ("test", TEST_EXACT) else key


def exact_key(key: str) -> str:
    """Return the figure of the towers alone: of a test metric the one by exact search, else itself."""
    return key.replace("test/", f"{TEST_EXACT}/", 1) if key.startswith("test/") else key


def label(key: str) -> str:
    """Return a key as a column's heading: `recall@20`, `valid recall@20`, `exact recall@20`, `p50 ms`."""
    if key in SHORT_LABELS:
        return SHORT_LABELS[key]
    shown = (
        key.removeprefix("test/")
        .replace(f"{TEST_EXACT}/", "exact/")
        .removeprefix(f"{COLD_START}model/")
        .removeprefix(COLD_START)
    )
    return shown.replace("_at_", "@").replace("/", " ")


def written(key: str, value: float | None, sign: bool = False) -> str:
    """Return a figure with as many digits as it is worth."""
    if value is None:
        return ""
    plus = "+" if sign else ""
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:{plus},.0f}"
    if magnitude >= 10 or "bytes" in key:
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.3f}" if key.startswith("index/latency") else f"{value:{plus}.4f}"


def known_key(asked: str, option: str, records: Iterable[RunRecord]) -> str:
    """Return the full key of a figure that a run has (`recall_at_20`: the test split's), or InputError."""
    known: set[str] = set()
    for record in records:
        known.update(record.figures)
    name = asked.strip().replace("@", "_at_")
    for key in (name, f"test/{name}", f"index/{name}", f"{COLD_START}{name}"):
        if key in known:
            return key
    if not known:
        raise InputError("none of these runs has ended with metrics, so there is nothing to compare by")
    raise InputError(f"{option}={asked}: no run has this figure; {nearest(asked, known)}")


def default_metric(records: Sequence[RunRecord]) -> str:
    """Return recall@20 on the test split, or, where no run has it, the first test metric there is."""
    known: list[str] = [key for record in records for key in record.figures]
    test = [key for key in known if key.startswith("test/")]
    return DEFAULT if DEFAULT in known or not test else test[0]


@dataclass(frozen=True)
class Entry:
    """One row: of a run, of a configuration with a run a seed and mean figures, or of a run's baseline."""

    name: str
    kind: Literal["run", "configuration", "baseline"]
    runs: tuple[RunRecord, ...]
    figures: Mapping[str, float]

    @property
    def run(self) -> RunRecord:
        """Return the first of its runs."""
        return self.runs[0]

    @property
    def trained(self) -> bool:
        """Whether it stands for runs, and is no built-in baseline."""
        return self.kind != "baseline"

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of its runs; none for a baseline."""
        return [run.seed for run in self.runs if run.seed is not None] if self.trained else []


def direction_of(key: str, entries: Iterable[Entry]) -> bool | None:
    """Say whether the higher of two figures of these rows is the better one; None where neither is."""
    return higher_is_better(key, (run.result.higher_is_better for entry in entries for run in entry.runs))


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
        shared = [key for key in members[0].figures if all(key in run.figures for run in members)]
        means = {key: sum(run.figures[key] for run in members) / len(members) for key in shared}
        entries.append(Entry(name, "configuration", members, means))
        missing = [run for run in runs if not run.ended]
        notes += [f"{names[run.folder]}: {run.problem}; not in the mean of {name}" for run in missing]
        if repeats := sum(run.ended for run in runs) - len(members):
            notes.append(f"{name}: {repeats} more runs repeat a seed; the latest of each seed counts")
    return entries, notes


def by_configuration(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Return the runs of each configuration; one that ended on other data is another configuration.

    A run that has not ended does not say its data: it joins the first that its settings fit.
    """
    groups: dict[tuple[str, object], list[RunRecord]] = {}
    for record in records:
        if record.ended:
            groups.setdefault((record.configuration, record.data), []).append(record)
    for record in records:
        if not record.ended:
            fitting = [key for key in groups if key[0] == record.configuration and record.configuration]
            groups.setdefault(fitting[0] if fitting else (str(record.folder), None), []).append(record)
    return list(groups.values())


def baseline_entries(records: Iterable[RunRecord]) -> list[Entry]:
    """Return one row for each built-in baseline that these runs, of one data set, recorded.

    All runs on the same data have the same, so that the first that has one does.
    """
    found: dict[str, Entry] = {}
    for record in records:
        for name, figures in record.result.baselines.items() if record.ended else ():
            known = {key: value for key, value in figures.items() if is_number(value)}
            known |= {exact_key(key): value for key, value in known.items()}  # no index is in between
            found.setdefault(name, Entry(name, "baseline", (record,), known))
    return list(found.values())


def best_by_validation(entries: Sequence[Entry], metric: str) -> tuple[Entry | None, str]:
    """Return the best row by the validation split, and how it was chosen in words.

    Of rows that are equal there, as those of one training under several indexes, it is the one whose index
    has the highest recall. Never by the test split: the best of many on it is partly the luckiest on it, and
    every other run would be measured against that luck.
    """
    key = validation_key(metric)
    judged = [entry for entry in entries if key in entry.figures]
    higher = direction_of(key, judged)
    if judged and higher is not None:
        sign = 1 if higher else -1

        def merit(entry: Entry) -> tuple[float, float]:
            return sign * entry.figures[key], entry.figures.get(OF_THE_INDEX[0], 0.0)

        best = max(judged, key=merit)
        return best, f"the best by {label(key)}" + (", not by the test split" if key != metric else "")
    if entries:
        why = f"{label(key)} has no better direction" if judged else f"no run has {label(key)} to choose by"
        return entries[0], f"the first; {why}, and baseline= names another"
    return None, ""


def named_baseline(name: str, entries: Sequence[Entry], built_in: Sequence[Entry]) -> Entry:
    """Return the row that `baseline=` names: a folder, a built-in baseline, or a part of one run's name.

    Raises InputError: nothing or several rows have this name, or the run has no figures.
    """
    folder = Path(name).resolve() if Path(name).is_dir() else None
    found = (
        [entry for entry in entries if folder and folder in (run.folder.resolve() for run in entry.runs)]
        or [entry for entry in built_in if entry.name == name]
        or [entry for entry in entries if entry.name == name]
        or [entry for entry in entries if name in entry.name]
    )
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found[:5]) + (", ..." if len(found) > 5 else "")
        raise InputError(f"baseline={name}: {len(found)} runs have this in their name ({names}); name one")
    if not found:
        known = [entry.name for entry in [*built_in, *entries]]
        raise InputError(f"baseline={name}: no such run or baseline here; {nearest(name, known)}")
    if not found[0].figures:
        raise InputError(f"baseline={name}: this run has no metrics ({found[0].run.problem}); name another")
    return found[0]
