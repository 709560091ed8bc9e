"""The manifest: what a bundle is, what it holds, and the checksum of every file, its own text included."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from twotower.bundle.layout import EXPORT_FILES, FILES, FORMAT_VERSION, MANIFEST, WEIGHTS
from twotower.config.errors import InputError
from twotower.files.atomic import sha256_of_file
from twotower.files.plain_values import read_json

OWN_SUM = "sha256"
EXPORT = "export"
"""What an exported bundle says of its export; other bundles have no such key."""
REMEDY = "copy the bundle here again from where it is whole, or train again with the run's config.yaml"

KINDS: dict[str, type | tuple[type, ...]] = {
    "fingerprint": str,
    "similarity": str,
    "embedding_dim": int,
    "num_items": int,
    "num_users": int,
    "item_label": (str, type(None)),
    "request_time": int,
    "index": dict,
    "versions": dict,
    "files": dict,
    OWN_SUM: str,
}
"""What a manifest must have beside its format version."""

RANGES = {
    "embedding_dim": (1, 2**20),
    "num_items": (1, 2**31 - 2),
    "num_users": (0, 2**31 - 2),
    "request_time": (-(2**40), 2**40),
}
"""Rows are 32-bit integers; the towers' arithmetic wants room for times."""


def render(manifest: Mapping[str, Any]) -> str:
    """Return the text of a manifest, with its own checksum put in."""
    plain = {key: value for key, value in manifest.items() if key != OWN_SUM}
    return _dump(plain | {OWN_SUM: own_sum(plain)}, indent=2)


def own_sum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its own checksum, whatever its layout as text."""
    plain = {key: value for key, value in manifest.items() if key != OWN_SUM}
    return hashlib.sha256(_dump(plain, indent=None).encode()).hexdigest()


def _own_sum_if_any(manifest: Mapping[str, Any]) -> str | None:
    try:
        return own_sum(manifest)
    except (
        ValueError,
        RecursionError,
    ):  # numbers and texts that we never write: infinity, halves of characters
        return None


def list_files(folder: Path, names: Iterable[str] = FILES) -> dict[str, dict[str, Any]]:
    """Return name -> SHA-256 and size of files of a bundle that is being written."""
    return {
        name: {"sha256": sha256_of_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a manifest and check its form; no other file is touched.

    Raises:
        InputError: it is missing or damaged, of another format version, or lists what it must not.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "this folder" if folder.is_dir() else "there is no such folder; a bundle"
        raise InputError(f"{folder}: {what} has no {MANIFEST}; name the bundle/ folder of a run")
    manifest = read_json(path, REMEDY)
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(manifest).__name__}; {REMEDY}")
    _check_version(manifest, path)
    _check_kinds(manifest, path)
    if manifest[OWN_SUM] != _own_sum_if_any(manifest):
        raise InputError(f"{path}: its text does not match its own SHA-256, so it was changed; {REMEDY}")
    _check_listing(manifest["files"], path, exported=EXPORT in manifest)
    return manifest


def _check_version(manifest: Mapping[str, Any], path: Path) -> None:
    version = manifest.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(
            f"{path}: format_version is {version!r:.9}, and this version of twotower reads {FORMAT_VERSION}; "
            "read it with the version of twotower that wrote it, or train again with this one"
        )


def _check_kinds(manifest: Mapping[str, Any], path: Path) -> None:
    kinds = KINDS | ({EXPORT: dict} if EXPORT in manifest else {})
    for key, kind in kinds.items():
        if key not in manifest:
            raise InputError(f"{path}: key {key!r} is missing; {REMEDY}")
        value = manifest[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(
                f"{path}: key {key!r} holds {value!r:.80}, of another type than expected; {REMEDY}"
            )
    for key, (lowest, highest) in RANGES.items():
        if not lowest <= manifest[key] <= highest:
            raise InputError(f"{path}: key {key!r} is {manifest[key]!r:.80}, out of range; {REMEDY}")


def _check_listing(files: Mapping[str, Any], path: Path, exported: bool) -> None:
    for name, entry in files.items():
        if PurePosixPath(name).name != name or "\\" in name or name == MANIFEST:
            raise InputError(f"{path}: lists {name!r}; a bundle's files lie in its own folder; {REMEDY}")
        sound = isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
        if not sound or type(entry.get("bytes")) is not int:
            raise InputError(
                f"{path}: files.{name} must hold sha256 and bytes, found {entry!r:.80}; {REMEDY}"
            )
    needed, possible = (FILES + EXPORT_FILES, WEIGHTS) if exported else (FILES, ())
    for name in needed:
        if name not in files:
            raise InputError(f"{path}: does not list {name}; {REMEDY}")
    unknown = sorted(set(files) - {*needed, *possible})
    if unknown:
        raise InputError(f"{path}: lists {unknown[0]}, which is no file of this format; {REMEDY}")


def _dump(manifest: Mapping[str, Any], indent: int | None) -> str:
    return json.dumps(manifest, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a manifest cannot hold {type(value).__name__}")
