"""The folder of a pretrained model, its digest and its settings."""

import functools
import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from twotower.config.errors import InputError
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import read_json

IGNORED = (".md", ".txt.gz", ".png", ".lock")
"""Endings of files that do not affect vectors."""


def model_folder(model: str) -> Path:
    """Return a folder, or that of a model on the hub, which is downloaded if necessary; raises InputError."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    hub = imported("huggingface_hub", "text")
    for local in (True, False):
        try:
            return Path(hub.snapshot_download(model, local_files_only=local))
        except Exception as error:  # the library's errors have no class in common
            why = f"{type(error).__name__}: {error!s:.100}"
    raise InputError(
        f"there is no folder {model!r} and no model of that name ({why}); give the folder of a model"
    )


def model_digest(folder: Path) -> str:
    """Return a SHA-256 of the names and contents of a model's files, without hidden and ignored files."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(IGNORED)
    )
    names = tuple(name for name in paths if not any(part.startswith(".") for part in name.split("/")))
    stats = tuple((folder / name).stat() for name in names)
    return _digest(folder, names, tuple((each.st_size, each.st_mtime_ns) for each in stats))


@functools.lru_cache(16)
def _digest(folder: Path, names: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    lines = [f"{file_sha256(folder / name)} {name}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return the content of a JSON file of a model, {} if the file is missing."""
    if not (folder / name).is_file():
        return {}
    settings = read_json(folder / name, "download the model again")
    return settings if isinstance(settings, dict) else {}


def imported(package: str, extra: str) -> ModuleType:
    """Import an optional package; raises InputError with the extra that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"this encoder needs {package}; pip install 'twotower[{extra}]' ({error})"
        ) from error
