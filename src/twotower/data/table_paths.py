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

PARQUET = (".parquet", ".pq")
ENDINGS = (*PARQUET, ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
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


TablePath = Path | RemotePath


def is_parquet(path: TablePath) -> bool:
    """Return whether a file is read as Parquet; otherwise as CSV."""
    return path.name.lower().endswith(PARQUET)


def table_paths(setting: str | Sequence[str]) -> list[TablePath]:
    """Return the files that a setting names: a list in its order, folders and patterns sorted by name.

    A folder stands for all tables in it and its subfolders, a pattern (`*`, `?`, `**`) for those that match.
    Names that begin with a dot or an underscore are skipped. A single file may be missing. Raises InputError
    if a folder or a pattern has no table, or an address is invalid.
    """
    if not isinstance(setting, str):
        return [path for each in setting for path in table_paths(each)]
    is_pattern = any(mark in setting for mark in "*?[")
    paths: list[TablePath]
    if "://" in setting:
        system, path = _system(setting)
        names = system.glob(path) if is_pattern else system.find(path) if system.isdir(path) else None
        paths = [RemotePath(setting)]
        if names is not None:
            root = _literal_part(path) if is_pattern else path.rstrip("/") + "/"
            paths = [RemotePath(system.unstrip_protocol(name)) for name in _visible(names, root)]
    elif (folder := Path(setting)).is_dir():
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        paths = [folder / name for name in _visible(names, "")]
    elif is_pattern and not folder.exists():
        names = glob.glob(setting, recursive=True)  # noqa: PTH207 - of any root
        paths = [Path(name) for name in _visible(names, _literal_part(setting))]
    else:
        paths = [folder]
    if not paths:
        raise InputError(
            f"{setting}: no file ends in {', '.join(ENDINGS)}; name a file, a folder of "
            "files or a pattern such as log/*.parquet"
        )
    return paths


def display_path(setting: str | Sequence[str]) -> str:
    """Return the files of a setting as messages name them."""
    if isinstance(setting, str):
        return setting if "://" in setting else str(Path(setting))
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
    with contextlib.ExitStack() as stack:
        source: Any = path
        if isinstance(path, RemotePath):
            system, remote = _system(path.address)
            source = stack.enter_context(system.open(remote, "rb"))
        yield stack.enter_context(pq.ParquetFile(source, **options))


def open_text_file(path: Path, mode: str = "rb") -> IO[bytes]:
    """Open a text file, plain or `.gz`, for bytes."""
    return cast(IO[bytes], gzip.open(path, mode) if path.name.lower().endswith(".gz") else path.open(mode))


def _literal_part(pattern: str) -> str:
    """Return the folders before the first wildcard; they may be hidden."""
    return "".join(re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[:2])


def _visible(names: Iterable[str], root: str) -> list[str]:
    """Return the tables that are not hidden below a root, sorted."""
    below = {name.removeprefix(root): name for name in names if name.lower().endswith(ENDINGS)}
    return [below[name] for name in sorted(below) if not HIDDEN.search(name)]


def _system(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:  # a missing package, or an unknown protocol
        raise InputError(f"{address}: cannot be opened: {error}; or copy the file here") from error
    return system, str(path)
