"""What of an output folder can be deleted: unsuccessful runs, and checkpoints."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twotower.config.errors import InputError
from twotower.experiments.runs.result import Result, read_result
from twotower.experiments.runs.run_files import LATEST, resolve_latest, runs_below
from twotower.experiments.runs.trainings import CHECKPOINTS
from twotower.files.lock import is_locked, lock_folder

CATEGORIES = {
    "failed": "runs that failed or were interrupted; resume= is no longer possible",
    "rejected": "runs whose index was rejected, unless another run uses their towers",
    "checkpoints": "checkpoints of ended runs, except the latest; no warm_start= and rebuild_bundle=",
}
"""Category -> its content, and what is no longer possible after its deletion."""
SUCCESSFUL = ("ok", "pruned")


@dataclass(frozen=True)
class Removable:
    """A folder that can be deleted, with its category, size and the run that it is part of."""

    category: str
    path: Path
    num_bytes: int
    run: Path


def removable(root: Path) -> list[Removable]:
    """Return what can be deleted below an output folder.

    Runs that a process uses, and those with a damaged `result.json`, are left out.

    Raises:
        InputError: the folder does not exist.
    """
    if not root.is_dir():
        raise InputError(f"output_root: {root}: no such folder; name the folder of your runs")
    results: dict[Path, Result | None] = {}
    for run in runs_below(root):
        with contextlib.suppress(InputError):  # a damaged result.json may be of a good run, which stays
            results[run] = read_result(run)
    in_use = {run for run in results if is_locked(run, "run") or is_locked(run.parent, "sweep")}
    used = {source for run, result in results.items() if result for source in _used_runs(run, result)}
    latest, found = None, list[Removable]()
    with contextlib.suppress(InputError):  # no run has a bundle
        latest = Path(resolve_latest(LATEST, root, "bundle"))
    for run, result in results.items():
        status = result.status if result else "failed"
        if run in in_use:
            continue
        if status in SUCCESSFUL or run.resolve() in used:
            path, category = run / CHECKPOINTS, "checkpoints"
            if run == latest or (result and result.has_failed) or not path.exists():
                continue
        else:
            path, category = run, "rejected" if status == "index_rejected" else "failed"
        files = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        found.append(Removable(category, path, sum(file.lstat().st_size for file in files), run))
    return found


def remove(found: Iterable[Removable]) -> None:
    """Delete folders. Their run is locked meanwhile, and deleted as a whole or not at all.

    Raises:
        InputError: a process has started to use a run.
    """
    for each in found:
        with lock_folder(each.run, "run"):
            removed = each.path.with_name(f".{each.path.name}.removed")  # so that no half of a run remains
            shutil.rmtree(removed, ignore_errors=True)
            each.path.rename(removed)
        shutil.rmtree(removed)


def _used_runs(run: Path, result: Result) -> Iterator[Path]:
    """Yield the runs whose files a run needs: its towers' trainer, its parent, the run that it repeats."""
    parent = result.ancestry.parent if result.ancestry else None
    for text in (result.training_reused_from, result.bundle_rebuilt_from, result.rerun_of, parent):
        if text:
            # Paths are relative to the working folder of the run; a moved output folder keeps its layout.
            yield from (path.resolve() for path in (Path(text), run.parent / Path(text).name))
