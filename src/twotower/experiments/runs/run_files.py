"""Names of the files of a run, and functions that find runs. Imports no pandas."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from twotower.bundle.layout import BUNDLE, MANIFEST
from twotower.config.errors import InputError
from twotower.files.plain_values import read_json

VARIED = "varied.json"
"""File of a sweep: the list of the keys that it varies."""
GATE = "gate.json"
"""Comparison of new towers of `twotower nightly` with the served ones; they may be served if `passed`."""
CONFIG, OVERRIDES, RESULT, TRAIN_LOG = "config.yaml", "overrides.yaml", "result.json", "train.log"
PER_USER, PER_USER_BASELINES = "per_user.parquet", "per_user_baselines.parquet"
LATEST = "latest"


def require_run(folder: Path) -> None:
    """Raise InputError if a folder holds no run. A bundle, which has a config.yaml too, is no run."""
    if (folder / MANIFEST).is_file():
        raise InputError(f"{folder}: a bundle, not a run; name its parent folder, {folder.parent}")
    if not (folder / CONFIG).is_file():
        why = f"it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise InputError(f"{folder}: not a run ({why}); name the folder of a run, or {LATEST}")


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run: a config.yaml and no manifest.json (a bundle has both)."""
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()


def read_varied_keys(sweep: Path) -> list[str]:
    """Return the keys that a sweep varies; empty for a folder that is no sweep."""
    path = sweep / VARIED
    return list(read_json(path, "delete it; the same command writes it again")) if path.is_file() else []


def runs_below(root: Path) -> Iterator[Path]:
    """Yield the folders of all runs at or below a folder, in the order of their names."""
    for folder, folders, files in os.walk(root):
        if CONFIG in files:
            if MANIFEST not in files:
                yield Path(folder)
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))


Needs = Literal["run", "result", "bundle"]
"""What a run has: anything, a `result.json` of a run that ended, or a bundle that may be served."""
NAMES: dict[Needs, str] = {"run": "run", "result": "ended run", "bundle": "run with a bundle to serve"}


def resolve_latest(text: str, root: Path, needs: Needs) -> str:
    """Return the folder of the run that `latest` names; any other text is returned unchanged.

    `latest` is the run below the root that started last, `outputs/shop/latest` the one below `outputs/shop`.
    Runs that lack what `needs` says are left out.
    """
    path = Path(text)
    if path.name != LATEST or path.exists():
        return text
    root = root if text == LATEST else path.parent
    runs = sorted(runs_below(root), key=lambda run: ((run / CONFIG).stat().st_mtime_ns, run), reverse=True)
    found = next((run for run in runs if _has(run, needs)), None)
    if found is None:
        raise InputError(f"{LATEST}: there is no {NAMES[needs]} below {root}; twotower train makes one")
    return str(found)


def _has(run: Path, needs: Needs) -> bool:
    if needs != "bundle":
        return needs == "run" or (run / RESULT).is_file()
    try:
        index = json.loads((run / BUNDLE / MANIFEST).read_text(encoding="utf-8"))["index"]
        gate = json.loads((run / GATE).read_text()) if (run / GATE).exists() else {"passed": True}
        return (index.get("report") or {}).get("ok", True) is True is gate["passed"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or damaged
        return False
