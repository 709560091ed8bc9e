"""The manifest of a bundle: sizes, settings of requests, and the checksum of every file and of itself."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, ValidationError

from twotower.bundle.layout import BUNDLE, FILES, FORMAT_VERSION, MANIFEST, POSSIBLE_FILES
from twotower.config.errors import InputError
from twotower.config.spec import MAX_INT
from twotower.data.actions import Role
from twotower.files.atomic import file_sha256
from twotower.files.plain_values import read_json

OWN_SUM = "sha256"
NUM_SUM_DIGITS = 12
REMEDY = "copy the bundle here again from where it is whole, or train again with the run's config.yaml"


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _ListedIndex(_StrictModel):
    spec: Any
    """Settings of the concrete index class."""
    search_args: dict[str, int]
    report: dict[str, Any] | None = None
    """Report of the index check."""


class Manifest(_StrictModel):
    """Content of `manifest.json`. Sizes are limited so that rows fit in 32-bit integers."""

    format_version: int
    similarity: str
    embedding_dim: Annotated[int, Ge(1), Le(2**20)]
    num_items: Annotated[int, Ge(1), Le(MAX_INT - 1)]
    num_users: Annotated[int, Ge(0), Le(MAX_INT - 1)]
    item_label: str | None
    request_time: Annotated[int, Ge(-(2**40)), Le(2**40)]
    """Default time of a request, in unix seconds."""
    known_until: Annotated[int, Ge(-(2**40)), Le(2**40)] | None = None
    """Unix seconds of the latest interaction in the histories; None if the log has no times."""
    held_out_interactions: Annotated[int, Ge(0)] = 0
    """Number of interactions of the log that the histories lack because they were held out for the test."""
    exclude_seen: bool = True
    """Default of `exclude_seen` of requests; False if the data keep repeats."""
    has_times: bool = True
    """Whether the log has times; otherwise the times of histories are positions in the log."""
    index: _ListedIndex
    versions: dict[str, Any]
    files: dict[str, str]
    """Name -> SHA-256."""
    sha256: str
    """Checksum of the manifest without this key."""
    num_contexts: Annotated[int, Ge(0), Le(MAX_INT - 1)] = 0
    """Number of distinct contexts of requests with stored features."""
    event_types: list[str] = []
    """Names of event types; the event with code c is at position c - 1."""
    event_roles: dict[str, Role] = {}
    """Event type -> role; the default is `positive`."""


def render(manifest: dict[str, Any]) -> str:
    """Return the text of a manifest, including its own checksum."""
    return _dump(manifest | {OWN_SUM: _own_sum(manifest)}, 2)


def list_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return name -> SHA-256 of files of a bundle that is being written."""
    return {name: file_sha256(folder / name) for name in names}


def bundle_in(folder: Path) -> Path:
    """Return the bundle folder of a run; a folder that is a bundle is returned unchanged."""
    inside = folder / BUNDLE
    return inside if (inside / MANIFEST).is_file() and not (folder / MANIFEST).is_file() else folder


def enclosing_run(folder: Path) -> Path:
    """Return the run folder of a bundle; a bundle outside a run is returned unchanged."""
    return folder.parent if folder.name == BUNDLE else folder


def bundle_version(folder: Path, manifest: Manifest) -> str:
    """Return the name of the run and the first digits of the checksum of the manifest."""
    return f"{enclosing_run(folder.resolve()).name}-{manifest.sha256[:NUM_SUM_DIGITS]}"


def read_manifest(folder: Path) -> Manifest:
    """Read and validate a manifest, and no other file; raises InputError if it is missing or not valid."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "this folder" if folder.is_dir() else "there is no such folder; a bundle"
        raise InputError(f"{folder}: {what} has no {MANIFEST}; name the bundle/ folder of a run")
    values = read_json(path, REMEDY)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(values).__name__}; {REMEDY}")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: format_version is {version!r:.9}; this version of twotower reads {FORMAT_VERSION} "
            "only. Train again (twotower train), or use the version of twotower that wrote the bundle"
        )
    try:
        manifest = Manifest.model_validate(values)
        own_sum = _own_sum(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: key {key!r:.100}: {first['msg']:.200}; {REMEDY}") from error
    except (ValueError, RecursionError) as error:  # infinity, or surrogates
        raise InputError(f"{path}: {error!s:.200}; {REMEDY}") from error
    if manifest.sha256 != own_sum:
        raise InputError(f"{path}: its text does not match its own SHA-256, so it was changed; {REMEDY}")
    if missing := [name for name in FILES if name not in manifest.files]:
        raise InputError(f"{path}: does not list {missing[0]}; {REMEDY}")
    if unknown := sorted(set(manifest.files) - {*FILES, *POSSIBLE_FILES}):
        raise InputError(f"{path}: lists {unknown[0]!r}, which is not a file of this format; {REMEDY}")
    return manifest


def verify(folder: Path) -> Manifest:
    """Return the manifest of a bundle; raises InputError if a file is damaged, missing or not listed.

    Faiss, safetensors and numpy load a file with a flipped bit without an error, and results are wrong.
    """
    manifest = read_manifest(folder)
    try:
        for path in sorted(folder.iterdir()):
            if path.name not in manifest.files and path.name != MANIFEST:
                raise InputError(f"{path}: the manifest does not list it; move it out of the bundle")
        for name, expected in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise InputError(f"{path}: missing, though the manifest lists it; {REMEDY}")
            if (found := file_sha256(path)) != expected:
                sums = f"expected SHA-256 {expected:.16}…, found {found:.16}…"
                raise InputError(f"{path}: damaged or changed: {sums}; {REMEDY}")
    except OSError as error:
        named = error.filename or folder
        raise InputError(f"{named}: cannot be read ({error.strerror}); {REMEDY}") from error
    return manifest


@contextmanager
def refusing(path: Path, manifest: Manifest) -> Iterator[None]:
    """Convert any error of a reader into an `InputError` that names the file."""
    try:
        yield
    except InputError as error:
        if str(path.parent) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # errors of the libraries have no common class
        wrote, reads = manifest.versions.get("twotower"), importlib.metadata.version("twotower")
        why = " ".join(f"{type(error).__name__}: {error!s:.300}".split())
        raise InputError(
            f"{path}: written by twotower {wrote!s:.20}, and this is {reads}, which cannot read it ({why}); "
            "use that version, or train again"
        ) from error


def _own_sum(manifest: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest without its own; it does not depend on whitespace."""
    plain = {key: value for key, value in manifest.items() if key != OWN_SUM}
    return hashlib.sha256(_dump(plain, None).encode()).hexdigest()


def _dump(manifest: Mapping[str, Any], indent: int | None) -> str:
    def plain(value: Any) -> Any:
        return value.tolist()  # of numpy

    return json.dumps(manifest, indent=indent, ensure_ascii=False, allow_nan=False, default=plain)
