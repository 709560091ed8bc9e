"""Files and folders that are there whole or not at all."""

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = re.compile(r"\.([0-9a-f]{32}\..+|.+\.[0-9a-f]{32}(\.old)?)")
"""Names under which files and folders are written, or wait to be removed."""


FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or a share of it, is full."""


@contextmanager
def _named_where_full(path: Path) -> Iterator[None]:
    """Let the error of a full disk name the file that was written: what fails to write knows no names."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name (which ends as `path` does), sync it and rename it.

    The folder is made if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with _named_where_full(path):
            write(temporary)
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextmanager
def temporary_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder beside `final`, to be filled and then moved there; else it is gone at the end."""
    folder = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    folder.mkdir(parents=True)
    try:
        with _named_where_full(final):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_folder(temporary: Path, final: Path) -> None:
    """Sync a finished folder and move it to its final name on the same file system.

    A folder already there is replaced; the name is missing for a moment while that is swapped.
    """
    _sync_folder(temporary)
    old = final.with_name(f".{final.name}.{uuid.uuid4().hex}.old")
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def publish_folder(temporary: Path, final: Path) -> bool:
    """Sync a finished folder and move it to its final name, unless another process was first; then drop it.

    For caches, where equal names mean equal content. Returns whether it was moved.
    """
    _sync_folder(temporary)
    try:
        temporary.rename(final)
        moved = True
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        moved = False
    _sync(final.parent)
    return moved


def clear_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written anywhere in a folder; nobody may be writing there."""
    for path in sorted(folder.rglob(".*")):
        if not TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it lay in a folder that has just gone


def _sync_folder(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
