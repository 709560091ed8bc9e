"""Atomic writes of files and folders."""

import contextlib
import glob
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

TEMPORARY = re.compile(r"\.([0-9a-f]{32}\..+|.+\.[0-9a-f]{32}(\.old|\.[0-9a-f]{8}\.lock)?)")
"""Temporary names of files and folders that are being written or removed, and of their locks."""
UUID, HOST = "?" * 32, hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""Pattern of a random name; part of the locks of this machine, since some shared file systems do not tell a
machine about the locks of others."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name (which ends as `path` does), sync it and rename it.

    The folder is created if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


@contextlib.contextmanager
def temporary_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder next to `final`; it is deleted at the end unless it was moved.

    It is locked. Folders that killed processes of this machine left for `final` are deleted.
    """
    clear_killed(final.parent, glob.escape(final.name))
    folder = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{folder}.{HOST}.lock")
    with FileLock(lock):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def clear_killed(parent: Path, name: str = "*") -> None:
    """Delete temporary folders of killed processes of this machine, for names that match a glob pattern."""
    for lock in parent.glob(f".{name}.{UUID}.{HOST}.lock"):
        with contextlib.suppress(OSError), FileLock(lock, timeout=0):  # the process that has it is running
            shutil.rmtree(lock.with_suffix("").with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


def replace_folder(temporary: Path, final: Path) -> None:
    """Sync a finished folder and move it to its final name on the same file system.

    An existing folder is replaced; the name does not exist for a moment. Replaced folders that killed
    processes left are deleted.
    """
    _sync_folder(temporary)
    old = final.with_name(f".{final.name}.{uuid.uuid4().hex}.old")
    if final.exists():
        final.rename(old)
    temporary.rename(final)
    _sync(final.parent)
    for old in final.parent.glob(f".{glob.escape(final.name)}.{UUID}.old"):
        shutil.rmtree(old, ignore_errors=True)


def publish_folder(temporary: Path, final: Path) -> bool:
    """Sync a finished folder and move it to its final name; delete it if the name exists.

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
    """Remove half-written files of killed processes below a folder to which no process writes."""
    for path in sorted(folder.rglob(".*")):
        if not TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # its folder may have been removed


def _sync_folder(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
