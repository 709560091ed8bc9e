"""Deletes checkpoints, unused caches and failed runs below a folder of runs."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from twotower.bundle.layout import BUNDLE, EXPORTED
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.files.lock import is_locked, lock_folder
from twotower.files.plain_values import read_yaml
from twotower.pipeline.unused_caches import CACHE, data_fingerprint, unused_caches
from twotower.runs.result import Result, read_result
from twotower.runs.run_files import CONFIG, runs_below
from twotower.runs.trainings import CHECKPOINTS

Kind = Literal["checkpoints", "caches", "failed"]


@dataclass(frozen=True)
class Removal:
    """A file or folder that can be deleted.

    Attributes:
        kind: kind of the files.
        path: file or folder.
        num_bytes: total size.
        run: its run; None for a cache.
    """

    kind: Kind
    path: Path
    num_bytes: int
    run: Path | None = None


@dataclass(frozen=True)
class CleanupPlan:
    """Files to delete below a folder, and excluded ones.

    Attributes:
        removals: files and folders that can be deleted.
        excluded: path -> reason why it stays.
        dependents: run whose checkpoints can be deleted -> finished runs that reuse its towers.
    """

    removals: list[Removal] = field(default_factory=list)
    excluded: dict[Path, str] = field(default_factory=dict)
    dependents: dict[Path, list[Path]] = field(default_factory=dict)

    def add(self, kind: Kind, path: Path, run: Path | None, reason: str) -> bool:
        """Add a removal, or an exclusion if there is a reason; return whether it is a removal."""
        if reason:
            self.excluded[path] = reason
        else:
            self.removals.append(Removal(kind, path, _size(path), run))
        return not reason


class _Runs:
    """The runs below a folder: results, locks, and the runs that trained their towers.

    Folders in `excluded` and `dependents` are resolved paths.
    """

    def __init__(self, root: Path, keep: Collection[Path]) -> None:
        self.results = {folder: _result(folder) for folder in runs_below(root)}
        self.busy = {
            each for each in self.results if is_locked(each, "run") or is_locked(each.parent, "sweep")
        }
        trainers = {folder: _trainer(folder, result) for folder, result in self.results.items()}
        self.dependents: dict[Path, list[Path]] = {}
        for folder, trainer in trainers.items():
            if self.ended(folder) and trainer != folder.resolve():
                self.dependents.setdefault(trainer, []).append(folder)
        self.excluded = {folder.resolve() for folder in keep}
        self.excluded |= {
            trainer for folder, trainer in trainers.items() if folder.resolve() in self.excluded
        }

    def ended(self, folder: Path) -> bool:
        result = self.results[folder]
        return result is not None and result.status != "failed"

    def failed(self, folder: Path) -> bool:
        result = self.results[folder]
        return result is not None and result.status == "failed"

    def reason_to_stay(self, folder: Path) -> str:
        if folder in self.busy:
            return "a process uses it"
        return "keep= names it, or a run that reuses its towers" if folder.resolve() in self.excluded else ""

    def warm_started_by(self, without: Collection[Path]) -> dict[Path, Path]:
        """Return resolved folder of a trainer -> an unfinished run that warm-starts from it."""
        children = {}
        for folder in self.results.keys() - set(without):
            parent = None if self.ended(folder) else _parent(folder)
            if parent is not None:
                children[_trainer(parent, _result(parent))] = folder
        return children


def plan(root: Path, kinds: Collection[Kind], keep: Collection[Path] = ()) -> CleanupPlan:
    """Return a plan of what can be deleted below a folder; deletes nothing.

    Args:
        root: `output_root`, or a folder in it.
        kinds: kinds of files to look for.
        keep: runs whose files stay, with the checkpoints of their towers.

    Raises:
        InputError: the folder or a run to keep does not exist.
    """
    if not root.is_dir():
        raise InputError(f"folder={root}: no such folder; name a folder of runs")
    for folder in keep:
        if not (folder / CONFIG).is_file():
            raise InputError(f"keep: {folder}: not a run (it has no {CONFIG}); name the folder of a run")
    runs, cleanup = _Runs(root, keep), CleanupPlan()
    if "failed" in kinds:
        for folder in filter(runs.failed, runs.results):
            cleanup.add(
                "failed", folder, folder, runs.reason_to_stay(folder) or _reason_to_keep_failed(folder, runs)
            )
    failed = {each.path for each in cleanup.removals}
    if "checkpoints" in kinds:
        warm_started_by = runs.warm_started_by(failed)
        for folder in filter(runs.ended, runs.results):
            path, resolved = folder / CHECKPOINTS, folder.resolve()
            if not path.is_dir():
                continue
            reason = runs.reason_to_stay(folder)
            if not reason and resolved in warm_started_by:
                reason = f"{warm_started_by[resolved]} warm-starts from it and is not finished"
            if cleanup.add("checkpoints", path, folder, reason) and resolved in runs.dependents:
                cleanup.dependents[folder] = runs.dependents[resolved]
    if "caches" in kinds and (root / CACHE).is_dir():
        if runs.busy:
            cleanup.excluded[root / CACHE] = f"a process uses {min(runs.busy)}"
            return cleanup
        data = {
            data_fingerprint(folder, result)
            for folder, result in runs.results.items()
            if folder not in failed
        }
        without = {each.run.resolve() for each in cleanup.removals if each.run is not None}
        for path in unused_caches(root, data, without):
            cleanup.add("caches", path, None, "")
    return cleanup


def _reason_to_keep_failed(folder: Path, runs: _Runs) -> str:
    """Return why a failed run is still needed; empty if it is not."""
    if any((folder / name).exists() for name in (BUNDLE, EXPORTED)):
        return "it contains a bundle"
    if any(folder.glob("*.sqlite")):
        return "it contains live changes of a service"
    dependents = runs.dependents.get(folder.resolve())
    return f"{dependents[0]} reuses its towers" if dependents else ""


def delete(removals: Collection[Removal], root: Path) -> dict[Path, str]:
    """Delete files; returns path -> reason for those of runs that were started again since the plan."""
    refused: dict[Path, str] = {}
    for each in removals:
        try:
            if each.run is None:
                _delete(each.path)
            else:
                with lock_folder(each.run, "run"):
                    result = _result(each.run)
                    if result is None or (result.status == "failed") != (each.kind == "failed"):
                        raise InputError(f"{each.run}: this run was started again after the plan was made")
                    _delete(each.path)
        except InputError as error:
            refused[each.path] = str(error)
            continue
        folder = each.path.parent
        while each.kind == "failed" and folder != root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
    return refused


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = (each for each in (path, *path.rglob("*")) if not each.is_dir())
    return sum(each.lstat().st_size for each in files)


def _result(folder: Path) -> Result | None:
    """Return the result of a run; None if it is missing or damaged."""
    try:
        return read_result(folder)
    except InputError:
        return None


def _trainer(folder: Path, result: Result | None) -> Path:
    """Return the resolved folder of the run that trained the towers of a run."""
    visited = {folder.resolve()}
    while result is not None and (source := result.training_reused_from or result.bundle_rebuilt_from):
        folder = _resolve_run(source, folder)
        if folder.resolve() in visited:
            break
        visited.add(folder.resolve())
        result = _result(folder)
    return folder.resolve()


def _parent(folder: Path) -> Path | None:
    """Return the run from which a run warm-starts."""
    try:
        settings = read_yaml(folder / CONFIG, "")
    except InputError:
        return None
    start = settings.get(WARM_START) if isinstance(settings, dict) else None
    return _resolve_run(str(start["run"]), folder) if isinstance(start, dict) and "run" in start else None


def _resolve_run(source: str, folder: Path) -> Path:
    """Return the folder of a run named by another run, relative to the folder where that one was started."""
    for base in (Path(), *folder.resolve().parents):
        if (base / source / CONFIG).is_file():
            return base / source
    return Path(source)
