"""What of a folder of runs can be deleted: checkpoints of ended runs, unused caches, failed runs."""

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from twotower.bundle.layout import BUNDLE, EXPORTED
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.files.lock import held, is_held
from twotower.files.plain_values import read_yaml
from twotower.pipeline.unused_caches import CACHE, data_of, unused_caches
from twotower.runs.result import Result, read_result
from twotower.runs.run_files import CONFIG, runs_below
from twotower.runs.trainings import CHECKPOINTS

Kind = Literal["checkpoints", "caches", "failed"]


@dataclass(frozen=True)
class Removal:
    """A file or folder that can be deleted.

    Attributes:
        kind: what it is.
        path: of it.
        num_bytes: size of the files in it.
        run: that it belongs to; None for a cache.
    """

    kind: Kind
    path: Path
    num_bytes: int
    run: Path | None = None


@dataclass(frozen=True)
class CleanupPlan:
    """What can be deleted below a folder, and what cannot.

    Attributes:
        removals: what can be deleted.
        excluded: path -> why it stays, though its kind was asked for.
        dependents: run whose checkpoints can be deleted -> the ended runs that took its towers.
    """

    removals: list[Removal] = field(default_factory=list)
    excluded: dict[Path, str] = field(default_factory=dict)
    dependents: dict[Path, list[Path]] = field(default_factory=dict)

    def add(self, kind: Kind, path: Path, run: Path | None, reason: str) -> bool:
        """Add a removal, or what there is a reason to exclude; tell which of them it is."""
        if reason:
            self.excluded[path] = reason
        else:
            self.removals.append(Removal(kind, path, _size(path), run))
        return not reason


class _Runs:
    """The runs below a folder: how they ended, who works on them, whose towers they have.

    Folders in `kept` and `dependents` are real ones, without links.
    """

    def __init__(self, root: Path, keep: Collection[Path]) -> None:
        self.results = {folder: _result(folder) for folder in runs_below(root)}
        busy = (each for each in self.results if is_held(each, "run") or is_held(each.parent, "sweep"))
        self.busy = set(busy)
        trainers = {folder: _trainer(folder, result) for folder, result in self.results.items()}
        self.dependents: dict[Path, list[Path]] = {}
        for folder, trainer in trainers.items():
            if self.ended(folder) and trainer != folder.resolve():
                self.dependents.setdefault(trainer, []).append(folder)
        self.kept = {folder.resolve() for folder in keep}
        self.kept |= {trainer for folder, trainer in trainers.items() if folder.resolve() in self.kept}

    def ended(self, folder: Path) -> bool:
        result = self.results[folder]
        return result is not None and result.status != "failed"

    def failed(self, folder: Path) -> bool:
        result = self.results[folder]
        return result is not None and result.status == "failed"

    def reason_to_stay(self, folder: Path) -> str:
        if folder in self.busy:
            return "a process is at work on it"
        return "keep= names it, or a run with its towers" if folder.resolve() in self.kept else ""

    def warm_started_by(self, without: Collection[Path]) -> dict[Path, Path]:
        """Return real folder of a trainer -> the run that continues its towers and has not ended."""
        found = {}
        for folder in self.results.keys() - set(without):
            parent = None if self.ended(folder) else _parent(folder)
            if parent is not None:
                found[_trainer(parent, _result(parent))] = folder
        return found


def plan(root: Path, kinds: Collection[Kind], keep: Collection[Path] = ()) -> CleanupPlan:
    """Return what can be deleted below a folder, without deleting it.

    Args:
        root: `output_root`, or a folder in it.
        kinds: what to look for.
        keep: runs whose files stay, and whose towers can still be continued.

    Raises:
        InputError: there is no such folder, or no such run to keep.
    """
    if not root.is_dir():
        raise InputError(f"folder={root}: there is no such folder; name one that holds runs")
    for folder in keep:
        if not (folder / CONFIG).is_file():
            raise InputError(f"keep: {folder}: no run is here (it has no {CONFIG}); name the folder of a run")
    runs, found = _Runs(root, keep), CleanupPlan()
    if "failed" in kinds:
        for folder in filter(runs.failed, runs.results):
            found.add("failed", folder, folder, runs.reason_to_stay(folder) or _holds(folder, runs))
    failed = {each.path for each in found.removals}
    if "checkpoints" in kinds:
        _add_checkpoints(found, runs, runs.warm_started_by(failed))
    if "caches" in kinds and (root / CACHE).is_dir():
        if runs.busy:
            found.excluded[root / CACHE] = f"a process is at work on {min(runs.busy)}"
            return found
        data = {data_of(folder, result) for folder, result in runs.results.items() if folder not in failed}
        without = {each.run.resolve() for each in found.removals if each.run is not None}
        for path in unused_caches(root, data, without):
            found.add("caches", path, None, "")
    return found


def _add_checkpoints(found: CleanupPlan, runs: _Runs, warm_started_by: Mapping[Path, Path]) -> None:
    for folder in filter(runs.ended, runs.results):
        path, real = folder / CHECKPOINTS, folder.resolve()
        if not path.is_dir():
            continue
        reason = runs.reason_to_stay(folder)
        if not reason and real in warm_started_by:
            reason = f"{warm_started_by[real]} continues its towers and has not ended"
        if found.add("checkpoints", path, folder, reason) and real in runs.dependents:
            found.dependents[folder] = runs.dependents[real]


def _holds(folder: Path, runs: _Runs) -> str:
    """Return what of a failed run is needed elsewhere."""
    if any((folder / name).exists() for name in (BUNDLE, EXPORTED)):
        return "it holds a bundle"
    if any(folder.glob("*.sqlite")):
        return "it holds live changes of a service"
    dependents = runs.dependents.get(folder.resolve())
    return f"{dependents[0]} took its towers" if dependents else ""


def delete(removals: Collection[Removal], root: Path) -> dict[Path, str]:
    """Delete; returns path -> why it was not deleted, where a run was started again since the plan."""
    refused: dict[Path, str] = {}
    for each in removals:
        try:
            if each.run is None:
                _delete(each.path)
            else:
                with held(each.run, "run"):
                    _refuse_changed(each)
                    _delete(each.path)
        except InputError as error:
            refused[each.path] = str(error)
            continue
        folder = each.path.parent
        while each.kind == "failed" and folder != root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
    return refused


def _refuse_changed(removal: Removal) -> None:
    assert removal.run is not None
    result = _result(removal.run)
    if result is None or (result.status == "failed") != (removal.kind == "failed"):
        raise InputError(f"{removal.run}: this run was started again meanwhile")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = (each for each in (path, *path.rglob("*")) if not each.is_dir())
    return sum(each.lstat().st_size for each in files)


def _result(folder: Path) -> Result | None:
    """Read how a run ended; None where it has not, or its result is damaged."""
    try:
        return read_result(folder)
    except InputError:
        return None


def _trainer(folder: Path, result: Result | None) -> Path:
    """Return the real folder of the run that trained the towers of a run."""
    passed = {folder.resolve()}
    while result is not None and (source := result.training_reused_from or result.bundle_rebuilt_from):
        folder = _located(source, folder)
        if folder.resolve() in passed:
            break
        passed.add(folder.resolve())
        result = _result(folder)
    return folder.resolve()


def _parent(folder: Path) -> Path | None:
    """Return the run that a run continues."""
    try:
        settings = read_yaml(folder / CONFIG, "")
    except InputError:
        return None
    how = settings.get(WARM_START) if isinstance(settings, dict) else None
    return _located(str(how["run"]), folder) if isinstance(how, dict) and "run" in how else None


def _located(source: str, folder: Path) -> Path:
    """Return the folder of a run as another run names it: from the folder where that one was started."""
    for place in (Path(), *folder.resolve().parents):
        if (place / source / CONFIG).is_file():
            return place / source
    return Path(source)
