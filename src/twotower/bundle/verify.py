"""Every file of a bundle is checked before any library reads one.

One flipped bit loads without an error in Faiss, safetensors and numpy, and then gives wrong answers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.bundle.layout import MANIFEST
from twotower.bundle.manifest import REMEDY, read_manifest
from twotower.config.errors import InputError
from twotower.files.atomic import sha256_of_file


def verify(folder: Path) -> dict[str, Any]:
    """Check that a bundle is what was written, and return its manifest.

    Raises:
        InputError: names the file that is damaged, missing or not listed.
    """
    manifest = read_manifest(folder)
    try:
        _check_files(folder, manifest["files"])
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); {REMEDY}"
        ) from error
    return manifest


def _check_files(folder: Path, files: Mapping[str, Any]) -> None:
    for path in sorted(folder.iterdir()):
        if path.name not in files and path.name != MANIFEST:
            raise InputError(f"{path}: the manifest does not list it; move it out of the bundle")
    for name, expected in files.items():
        _check_size(folder / name, expected)
    for name, expected in files.items():
        _check_sum(folder / name, expected)


def _check_size(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing, though the manifest lists it; {REMEDY}")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise InputError(f"{path}: expected {expected['bytes']:,} bytes, found {size:,}; {REMEDY}")


def _check_sum(path: Path, expected: Mapping[str, Any]) -> None:
    found = sha256_of_file(path)
    if found != expected["sha256"]:
        raise InputError(
            f"{path}: damaged or changed: expected SHA-256 {expected['sha256'][:16]}…, "
            f"found {found[:16]}…; {REMEDY}"
        )
