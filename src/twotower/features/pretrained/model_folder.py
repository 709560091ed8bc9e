"""Where a pretrained model is, and which one it is."""

import functools
import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.files.atomic import sha256_of_file

Floats = NDArray[np.float32]
ONNX = ("model.onnx", "onnx/model.onnx")
NOTES = (".md", ".txt.gz", ".png", ".lock")
"""Endings of files that change no vector."""


class Embedder(Protocol):
    """A frozen model. Each value alone, so that a vector depends on nothing that it was computed beside."""

    def __call__(self, content: bytes) -> Floats | None:
        """Return the vector [W] of what a value says, None where it cannot be read."""


def model_folder(model: str) -> Path:
    """Return the folder of a model that is named by its folder, or as its hub knows it.

    Raises:
        InputError: there is no such folder, and no such name on this machine or to be fetched.
    """
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
    """Return a SHA-256 over the names and the contents of a model's files; hidden ones and notes aside."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(NOTES)
    )
    names = tuple(name for name in paths if not any(part.startswith(".") for part in name.split("/")))
    stats = tuple((folder / name).stat() for name in names)
    return _digest(folder, names, tuple((each.st_size, each.st_mtime_ns) for each in stats))


@functools.lru_cache(16)
def _digest(folder: Path, names: tuple[str, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    lines = [f"{sha256_of_file(folder / name)} {name}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def onnx_file(folder: Path) -> Path | None:
    """Return a model's ONNX file, None where it has none."""
    return next((folder / name for name in ONNX if (folder / name).is_file()), None)


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file of a model says, {} where it is not there."""
    path = folder / name
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error!s:.100})") from error
    return found if isinstance(found, dict) else {}


def imported(package: str, extra: str) -> ModuleType:
    """Import a package that only encoders need.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"this encoder needs {package}; pip install 'twotower[{extra}]' ({error})"
        ) from error


def unit(vector: Any) -> Floats | None:
    """Return a vector [W] scaled to length 1, None where it has none."""
    wide = np.asarray(vector, dtype=np.float64).reshape(-1)
    norm = float(np.linalg.norm(wide))
    return (wide / norm).astype(np.float32) if np.isfinite(norm) and norm > 0 else None
