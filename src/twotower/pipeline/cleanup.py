"""Disk space of runs: `twotower clean` lists and deletes checkpoints, unused caches and failed runs."""

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from twotower.bundle.layout import BUNDLE, EXPORTED
from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START
from twotower.files.atomic import TEMPORARY
from twotower.files.lock import is_locked, lock_folder
from twotower.files.plain_values import load_json, read_yaml
from twotower.runs.result import Result, read_result
from twotower.runs.run_files import CONFIG, runs_below
from twotower.runs.trainings import CHECKPOINTS, recorded_trainings

Kind = Literal["checkpoints", "caches", "failed"]
TITLES: Mapping[Kind, str] = {
    "checkpoints": "checkpoints of ended runs",
    "caches": "caches that no run uses",
    "failed": "failed runs",
}
CACHE = ".cache"


@dataclass(frozen=True)
class Removal:
    """A file or folder that can be deleted, and its run; a cache has none."""

    kind: Kind
    path: Path
    num_bytes: int
    run: Path | None = None


@dataclass(frozen=True)
class CleanupPlan:
    """Files to delete below a folder, and excluded ones with the reason why they stay.

    `dependents` has runs whose checkpoints can be deleted -> finished runs that reuse their towers.
    """

    removals: list[Removal] = field(default_factory=list)
    excluded: dict[Path, str] = field(default_factory=dict)
    dependents: dict[Path, list[Path]] = field(default_factory=dict)

    def add(self, kind: Kind, path: Path, run: Path | None, reason: str = "") -> bool:
        """Add a removal, or an exclusion if there is a reason; return whether it is a removal."""
        if reason:
            self.excluded[path] = reason
        else:
            files = (each for each in (path, *path.rglob("*")) if not each.is_dir())
            self.removals.append(Removal(kind, path, sum(each.lstat().st_size for each in files), run))
        return not reason

    def lines(self, kinds: Collection[Kind]) -> Iterator[str]:
        """Yield lines on what can be deleted, what stays, and the consequences."""
        by_kind = {kind: [each for each in self.removals if each.kind == kind] for kind in TITLES}
        for kind in (kind for kind in TITLES if kind in kinds):
            yield f"{_size(by_kind[kind]):>10}  {TITLES[kind]} ({len(by_kind[kind])})"
            for each in sorted(by_kind[kind], key=lambda each: -each.num_bytes):
                yield f"{_size([each]):>14}  {each.path}"
        for path, reason in self.excluded.items():
            yield f"stays: {path}: {reason}"
        if by_kind["checkpoints"]:
            yield (
                "without checkpoints: warm_start= and rebuild_bundle= refuse these runs, and the next run "
                "with the same settings trains again (keep=[FOLDER] excludes a run)"
            )
        for folder, dependents in self.dependents.items():
            yield f"without the checkpoints of {folder}: the same for {', '.join(map(str, dependents))}"
        if by_kind["failed"]:
            yield "without failed runs: resume= cannot continue them"

    def summary(self, root: Path, refused: Mapping[Path, str] | None) -> str:
        """Return the last line; `refused` has the paths that were not deleted, None before deletion."""
        if not self.removals:
            return f"nothing to delete below {root}"
        if refused is None:
            return f"nothing was deleted; twotower clean apply=true frees {_size(self.removals)}"
        return f"deleted: {_size([each for each in self.removals if each.path not in refused])}"


def _size(removals: Collection[Removal]) -> str:
    return f"{sum(each.num_bytes for each in removals) / 1e6:,.1f} MB"


def plan(root: Path, kinds: Collection[Kind], keep: Collection[Path] = ()) -> CleanupPlan:
    """Return a plan of what can be deleted below `output_root` or a folder in it; deletes nothing.

    The files of the runs in `keep` stay, with the checkpoints of their towers.

    Raises:
        InputError: the folder or a run to keep does not exist.
    """
    if not root.is_dir():
        raise InputError(f"folder={root}: no such folder; name a folder of runs")
    for folder in keep:
        if not (folder / CONFIG).is_file():
            raise InputError(f"keep: {folder}: not a run (it has no {CONFIG}); name the folder of a run")
    cleanup, results = CleanupPlan(), {folder: _result(folder) for folder in runs_below(root)}
    trainers = {folder: _trainer(folder, result) for folder, result in results.items()}
    ended = [folder for folder, result in results.items() if result and result.status != "failed"]
    dependents: dict[Path, list[Path]] = {}  # resolved folder of a trainer -> runs that reuse its towers
    for folder in ended:
        if trainers[folder] != folder.resolve():
            dependents.setdefault(trainers[folder], []).append(folder)
    kept = {folder.resolve() for folder in keep}
    kept |= {trainer for folder, trainer in trainers.items() if folder.resolve() in kept}
    reasons = dict.fromkeys(
        (folder for folder in results if folder.resolve() in kept),
        "keep= names it, or a run that reuses its towers",
    )
    busy = {each for each in results if is_locked(each, "run") or is_locked(each.parent, "sweep")}
    reasons |= dict.fromkeys(busy, "a process uses it")
    failed = set()
    if "failed" in kinds:
        for folder in (each for each, result in results.items() if result and result.status == "failed"):
            reason = reasons.get(folder) or _reason_to_keep_failed(folder, dependents)
            if cleanup.add("failed", folder, folder, reason):
                failed.add(folder)
    if "checkpoints" in kinds:
        unfinished = results.keys() - ended - failed
        parents = {folder: _parent(folder) for folder in unfinished}
        started = {_trainer(each, _result(each)): folder for folder, each in parents.items() if each}
        for folder in (each for each in ended if (each / CHECKPOINTS).is_dir()):
            resolved, reason = folder.resolve(), reasons.get(folder, "")
            if not reason and resolved in started:
                reason = f"{started[resolved]} warm-starts from it and is not finished"
            if cleanup.add("checkpoints", folder / CHECKPOINTS, folder, reason) and resolved in dependents:
                cleanup.dependents[folder] = dependents[resolved]
    if "caches" in kinds and busy and (root / CACHE).is_dir():
        cleanup.excluded[root / CACHE] = f"a process uses {min(busy)}"
    elif "caches" in kinds:
        data = {_data_fingerprint(each, result) for each, result in results.items() if each not in failed}
        without = {each.run.resolve() for each in cleanup.removals if each.run is not None}
        for path in _unused_caches(root, data, without):
            cleanup.add("caches", path, None)
    return cleanup


def _reason_to_keep_failed(folder: Path, dependents: Mapping[Path, list[Path]]) -> str:
    if any((folder / name).exists() for name in (BUNDLE, EXPORTED)):
        return "it contains a bundle"
    if any(folder.glob("*.sqlite")):
        return "it contains live changes of a service"
    reusing = dependents.get(folder.resolve())
    return f"{reusing[0]} reuses its towers" if reusing else ""


def _unused_caches(root: Path, data: Collection[str], without: Collection[Path]) -> Iterator[Path]:
    """Yield data sets and lists of baselines of other `data` fingerprints, temporary files, and records of
    trainings that have no checkpoints, or none after the deletion of those of the runs `without`."""
    for path in sorted((root / CACHE).glob("*")):
        meta = path / "meta.json"
        if TEMPORARY.fullmatch(path.name) or (meta.is_file() and _cached_fingerprint(meta) not in data):
            yield path
    yield from (path for path in sorted((root / CACHE / "baselines").glob("*")) if path.name not in data)
    for path, run in recorded_trainings(root):
        if run.resolve() in without or not (run / CHECKPOINTS).is_dir():
            yield path


def _cached_fingerprint(meta: Path) -> str | None:
    try:
        content = load_json(meta)
    except ValueError:
        return None
    return content.get("fingerprint") if isinstance(content, dict) else None


def _data_fingerprint(folder: Path, result: Result | None) -> str:
    if result is not None and result.data.fingerprint is not None:
        return result.data.fingerprint
    note = folder / CHECKPOINTS / "data_fingerprint"
    return note.read_text(encoding="utf-8") if note.is_file() else ""


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
