"""Run folders below what is named on the command line."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.runs.run_files import CONFIG


def run_folders(named: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Return the folders of all runs at or below these paths, in order and once each, and notes.

    A run is a folder with a config.yaml that is no bundle (which has a manifest.json beside it).

    Args:
        named: runs, sweep folders, folders above them, or globs.

    Raises:
        InputError: a path does not exist, a bundle is named, or there is no run at all.
    """
    asked = list(named)
    by_text = {text: [folder for path in _matching(text) for folder in _below(path)] for text in asked}
    notes = [f"{text}: no run is in this folder or below it" for text, below in by_text.items() if not below]
    found = {folder.resolve(): folder for below in reversed(by_text.values()) for folder in below}
    if not found:
        raise InputError(
            f"no run found in {', '.join(asked)}: a run is a folder with a {CONFIG}; "
            "python scripts/train.py makes one"
        )
    return sorted(found.values()), notes


def is_run(folder: Path) -> bool:
    """Say whether a folder holds a run."""
    return (folder / CONFIG).is_file() and not (folder / MANIFEST).is_file()


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


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        if CONFIG in files:
            if MANIFEST not in files:
                yield Path(folder)
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
