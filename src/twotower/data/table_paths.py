"""The files of a table: a file, a list, a folder or a pattern, local or at an fsspec address."""

import contextlib
import glob
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twotower.config.errors import InputError
from twotower.files.atomic import sha256_of_file

ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
"""File endings that are read from a folder or a pattern."""
HIDDEN = re.compile(r"(^|/)(_|\.[^./])")


@dataclass(frozen=True)
class RemotePath:
    """A file at an address that fsspec knows, such as `s3://bucket/log.parquet`."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def is_file(self) -> bool:
        """Tell whether the file exists."""
        system, path = _system(self.address)
        return bool(system.isfile(path))

    def open(self) -> IO[bytes]:
        """Open the file for reading."""
        system, path = _system(self.address)
        file: IO[bytes] = system.open(path, "rb")
        return file


TablePath = Path | RemotePath


def is_address(text: str) -> bool:
    """Tell whether a setting is an address (`s3://...`) and not a local path."""
    return "://" in text


def table_paths(setting: str | Sequence[str]) -> list[TablePath]:
    """Return the files that a setting names: a list in its order, folders and patterns sorted by name.

    A folder stands for all tables in it and its subfolders, a pattern (`*`, `?`, `**`) for those that match.
    Names that begin with a dot or an underscore are skipped. A single file may be missing.

    Raises:
        InputError: a folder or a pattern has no table, or an address is invalid.
    """
    if not isinstance(setting, str):
        return [place for each in setting for place in table_paths(each)]
    found = _remote(setting) if is_address(setting) else _local(setting)
    if not found:
        raise InputError(
            f"{setting}: no file ends in {', '.join(ENDINGS)}; name a file, a folder of "
            "files or a pattern such as log/*.parquet"
        )
    return found


def source_path_of(setting: str | Sequence[str]) -> str:
    """Return the name of the files of a setting for messages."""
    if isinstance(setting, str):
        return setting if is_address(setting) else str(Path(setting))
    return source_path_of(setting[0]) if len(setting) == 1 else f"{setting[0]} and {len(setting) - 1} more"


def digest_of(place: TablePath) -> str:
    """Return the SHA-256 of a file, or of the version that its file system reports."""
    if isinstance(place, Path):
        return sha256_of_file(place)
    system, path = _system(place.address)
    return hashlib.sha256(str(system.ukey(path)).encode()).hexdigest()


@contextlib.contextmanager
def opened(place: TablePath) -> Iterator[Any]:
    """Yield a local path, or an open remote file, for PyArrow."""
    if isinstance(place, Path):
        yield place
    else:
        with place.open() as file:
            yield file


def digest_of_all(places: Sequence[TablePath]) -> list[Any]:
    """Return [name, digest] of each file; of a single file one pair."""
    found = [[place.name, digest_of(place)] for place in places]
    return found if len(found) > 1 else found[0]


def _local(text: str) -> list[TablePath]:
    path = Path(text)
    if path.is_dir():
        below = (str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
        return [path / name for name in _tables(below)]
    if any(mark in text for mark in "*?[") and not path.exists():
        return [Path(name) for name in _fitting(text, glob.glob(text, recursive=True))]  # noqa: PTH207 - of any root
    return [path]


def _remote(text: str) -> list[TablePath]:
    system, path = _system(text)
    if any(mark in path for mark in "*?["):
        names = _fitting(path, system.glob(path))
    elif system.isdir(path):
        root = path.rstrip("/") + "/"
        names = [root + name for name in _tables(each.removeprefix(root) for each in system.find(path))]
    else:
        return [RemotePath(text)]
    return [RemotePath(system.unstrip_protocol(name)) for name in names]


def _fitting(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the tables that match a pattern. Its literal part may begin with a dot."""
    named = "".join(re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[:2])
    found = {name.removeprefix(named): name for name in names}
    return [found[name] for name in _tables(found)]


def _tables(names: Iterable[str]) -> list[str]:
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
