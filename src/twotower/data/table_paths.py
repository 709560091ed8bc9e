"""The files of a table: a file, a list, a folder or a pattern, local or at an fsspec address."""

import contextlib
import glob
import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow.parquet as pq

from twotower.config.errors import InputError
from twotower.files.atomic import file_sha256

ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
"""File endings that are read from a folder or a pattern."""
HIDDEN = re.compile(r"(^|/)(_|\.[^./])")


@dataclass(frozen=True)
class RemotePath:
    """A file at an fsspec address, such as `s3://bucket/log.parquet`."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def is_file(self) -> bool:
        """Return whether the file exists."""
        system, path = _system(self.address)
        return bool(system.isfile(path))

    def open(self) -> IO[bytes]:
        """Open the file for reading."""
        system, path = _system(self.address)
        file: IO[bytes] = system.open(path, "rb")
        return file


TablePath = Path | RemotePath


def is_address(text: str) -> bool:
    """Return whether a setting is an address (`s3://...`) and not a local path."""
    return "://" in text


def table_paths(setting: str | Sequence[str]) -> list[TablePath]:
    """Return the files that a setting names: a list in its order, folders and patterns sorted by name.

    A folder stands for all tables in it and its subfolders, a pattern (`*`, `?`, `**`) for those that match.
    Names that begin with a dot or an underscore are skipped. A single file may be missing.

    Raises:
        InputError: a folder or a pattern has no table, or an address is invalid.
    """
    if not isinstance(setting, str):
        return [path for each in setting for path in table_paths(each)]
    paths = _remote_paths(setting) if is_address(setting) else _local_paths(setting)
    if not paths:
        raise InputError(
            f"{setting}: no file ends in {', '.join(ENDINGS)}; name a file, a folder of "
            "files or a pattern such as log/*.parquet"
        )
    return paths


def display_path(setting: str | Sequence[str]) -> str:
    """Return the files of a setting as messages name them."""
    if isinstance(setting, str):
        return setting if is_address(setting) else str(Path(setting))
    return display_path(setting[0]) if len(setting) == 1 else f"{setting[0]} and {len(setting) - 1} more"


def content_digests(paths: Sequence[TablePath]) -> list[Any]:
    """Return [name, digest] of each file; of a single file one pair.

    The digest is the SHA-256 of a local file, or of the version that a remote file system reports.
    """
    pairs = []
    for path in paths:
        if isinstance(path, Path):
            digest = file_sha256(path)
        else:
            system, remote = _system(path.address)
            digest = hashlib.sha256(str(system.ukey(remote)).encode()).hexdigest()
        pairs.append([path.name, digest])
    return pairs if len(pairs) > 1 else pairs[0]


@contextlib.contextmanager
def open_parquet(path: TablePath, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open a local or remote Parquet file."""
    source = contextlib.nullcontext(path) if isinstance(path, Path) else path.open()
    with source as readable, pq.ParquetFile(readable, **options) as file:
        yield file


def open_text_file(path: Path, mode: str = "rb") -> IO[bytes]:
    """Open a text file, plain or `.gz`, for bytes."""
    return cast(IO[bytes], gzip.open(path, mode) if path.name.lower().endswith(".gz") else path.open(mode))


def _local_paths(text: str) -> list[TablePath]:
    path = Path(text)
    if path.is_dir():
        below = (str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
        return [path / name for name in _tables(below)]
    if any(mark in text for mark in "*?[") and not path.exists():
        return [Path(name) for name in _matching(text, glob.glob(text, recursive=True))]  # noqa: PTH207 - of any root
    return [path]


def _remote_paths(text: str) -> list[TablePath]:
    system, path = _system(text)
    if any(mark in path for mark in "*?["):
        names = _matching(path, system.glob(path))
    elif system.isdir(path):
        root = path.rstrip("/") + "/"
        names = [root + name for name in _tables(each.removeprefix(root) for each in system.find(path))]
    else:
        return [RemotePath(text)]
    return [RemotePath(system.unstrip_protocol(name)) for name in names]


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the tables that match a pattern; folders of its literal part may be hidden."""
    root = "".join(re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[:2])
    matches = {name.removeprefix(root): name for name in names}
    return [matches[name] for name in _tables(matches)]


def _tables(names: Iterable[str]) -> list[str]:
    """Return the names of tables that are not hidden, sorted."""
    return sorted(name for name in names if name.lower().endswith(ENDINGS) and not HIDDEN.search(name))


def _system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"{address}: addresses need the package fsspec; or copy the file here") from error
    try:
        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:  # a missing package, or an unknown protocol
        raise InputError(f"{address}: cannot be opened: {error}; or copy the file here") from error
    return system, str(path)
