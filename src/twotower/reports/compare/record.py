"""Which runs are meant, what is read of one or is wrong with it, and whether two may be set side by side."""

import glob
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.files.plain_values import load_yaml
from twotower.runs.fingerprint import fingerprint, flat
from twotower.runs.result import Result, load_result
from twotower.runs.run_files import CONFIG, RESULT, runs_below


def run_folders(named: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of all runs at or below these paths or globs, in order and once each, and notes.

    A run is a folder with a config.yaml that is no bundle (which has a manifest.json beside it). Raises
    InputError where a path does not exist, a bundle is named, or there is no run at all.
    """
    asked = list(named)
    by_text = {text: [folder for path in _matching(text) for folder in runs_below(path)] for text in asked}
    notes = [f"{text}: no run is in this folder or below it" for text, below in by_text.items() if not below]
    found = {folder.resolve(): folder for below in reversed(by_text.values()) for folder in below}
    if not found:
        raise InputError(
            f"no run found in {', '.join(asked)}: a run is a folder with a {CONFIG}; twotower train makes one"
        )
    return sorted(found.values()), notes


def _matching(text: str) -> list[Path]:
    path = Path(text)
    # Names of jobs may hold brackets, which a glob would take for a choice of letters.
    if path.exists():
        return [_folder_of(path)]
    # `Path.glob` refuses absolute patterns.
    matches = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []  # noqa: PTH207
    if not matches:
        kind = "no path fits this pattern" if glob.has_magic(text) else "there is no such file or folder"
        raise InputError(f"{text}: {kind}; name a run, a sweep, a folder above them or a glob in quotes")
    return [Path(match) for match in matches if Path(match).is_dir()]


def _folder_of(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    if path.is_file() and not (folder / CONFIG).is_file():
        raise InputError(f"{path}: a file, not a run; name a folder that holds runs")
    if (folder / MANIFEST).is_file() and (folder / CONFIG).is_file():
        raise InputError(f"{path}: a bundle, not a run; name the folder that it is in, {folder.parent}")
    return folder


Scalar = bool | int | float | str
UNENDED, DAMAGED = "unended", "damaged"
ABSENT = "–"
NOTHING = Result(status="failed")
UNKNOWN = str(None)


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it; what is damaged or missing is empty, and `state` and `problem` say so.

    `configuration` is equal for runs whose settings differ in the seed alone, if in anything; figures are by
    key: `test/recall_at_20`, `index/latency_ms_p50`, `timing/train_seconds`.
    """

    folder: Path
    settings: Mapping[str, Scalar]
    result: Result
    state: str
    problem: str = ""
    configuration: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the run ended with metrics."""
        return self.result.finished

    @property
    def seed(self) -> int | None:
        """Return the seed, None if the run does not say."""
        seed = self.settings.get("seed") if self.result.seed is None else self.result.seed
        return seed if isinstance(seed, int) else None

    @property
    def note(self) -> str:
        """Return what its user wrote of it."""
        note = self.settings.get("note", "")
        return note if isinstance(note, str) else ""

    @property
    def data(self) -> tuple[str, str]:
        """Return what must be equal for figures to be comparable: data with split, and the seen filter."""
        data = self.result.data
        return str(data.fingerprint), str(data.audit.get("seen_filter"))

    def shown(self, key: str) -> str:
        """Return a setting as text for a table, a dash where the run has no such key."""
        value = self.settings.get(key, ABSENT)
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, float) else str(value)


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder; what is damaged is said in the record and never raises."""
    try:
        settings = _settings(folder / CONFIG)
        plain = {key: _finite(value) for key, value in flat(settings).items()}
    except (ValueError, TypeError) as error:
        return RunRecord(folder, {}, NOTHING, DAMAGED, f"{CONFIG} is damaged: {error}")
    # Computed even where the run recorded it: an older run may have counted other keys as shaping.
    configuration = fingerprint({key: value for key, value in settings.items() if key != "seed"}, "")
    if not (folder / RESULT).is_file():
        return RunRecord(folder, plain, NOTHING, UNENDED, "has not ended", configuration)
    try:
        result = load_result(folder / RESULT)
        if result.finished and not result.metrics:
            raise ValueError("it has no metrics")
    except ValueError as error:
        return RunRecord(folder, plain, NOTHING, DAMAGED, f"{RESULT} is damaged: {error}", configuration)
    figures = result.figures() if result.finished else {}
    return RunRecord(folder, plain, result, result.status, _problem(result), configuration, figures)


def with_defaults(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with the default of each setting that another of them states."""
    stated = {key for record in records for key in record.settings}

    def filled(record: RunRecord) -> RunRecord:
        defaults = {key: _finite(value) for key, value in record.result.defaults.items() if key in stated}
        return replace(record, settings={**defaults, **record.settings}) if record.settings else record

    return list(map(filled, records))


def display_names(records: Sequence[RunRecord]) -> dict[Path, str]:
    """Return a short name of each run: its path below the deepest folder that holds all of them."""
    shared = len(_shared_parts(records))
    return {record.folder: "/".join(record.folder.resolve().parts[shared:]) for record in records}


def shared_folder(records: Sequence[RunRecord]) -> Path:
    """Return the deepest folder that holds all runs, as somebody in the working folder would write it."""
    shared = Path(*_shared_parts(records))
    return shared.relative_to(Path.cwd()) if shared.is_relative_to(Path.cwd()) else shared


def _shared_parts(records: Sequence[RunRecord]) -> list[str]:
    levels = zip(*(record.folder.resolve().parts[:-1] for record in records), strict=False)
    return [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]


def other_data(run: RunRecord, other: RunRecord) -> str:
    """Say how the data that two runs were judged on differ, or nothing if they do not."""
    (data, seen), (others_data, others_seen) = run.data, other.data
    if UNKNOWN in (data, others_data):
        return "a result does not say which data it was judged on"
    if data != others_data:
        return _other_settings(run, other) or "other data: its content has changed"
    if seen != others_seen:
        return (
            f"seen items are filtered in one and not in the other (seen_filter {seen} against {others_seen})"
        )
    return ""


def largest_group(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with metrics of the data that most of them were judged on; of equals, the first."""
    ended = [record for record in records if record.ended and record.data[0] != UNKNOWN]
    most = Counter(record.data for record in ended).most_common(1)
    return [record for record in ended if record.data == most[0][0]]


def _other_settings(run: RunRecord, other: RunRecord) -> str:
    for part in ("split", "data"):
        for key in {**run.settings, **other.settings}:
            if key.split(".")[0] == part and run.settings.get(key) != other.settings.get(key):
                return f"other {part}: {key} {run.shown(key)} against {other.shown(key)}"
    return ""


def _finite(value: Scalar) -> Scalar:
    """Return a setting as it is, but infinity as text, which JSON has no number for."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _settings(path: Path) -> dict[str, Any]:
    settings = load_yaml(path)
    if not isinstance(settings, dict):
        raise ValueError("it holds no mapping of settings")
    return settings


def _problem(result: Result) -> str:
    if result.status == "failed":
        return f"failed: {' '.join((result.error or 'it does not say why').split())}"
    if result.status == "pruned":
        epochs = result.training.epochs
        return "pruned" if epochs is None else f"pruned at epoch {epochs}"
    return "index rejected" if result.status == "index_rejected" else ""
