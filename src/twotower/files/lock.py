"""Locks of folders, with a message that names the owner."""

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from twotower.config.errors import InputError
from twotower.files.atomic import write_text_atomically


@contextlib.contextmanager
def lock_folder(folder: Path, what: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Lock a folder; the operating system releases the lock when this process ends.

    The folder is created if needed. `what` names the lock file, and the folder in messages: `run` or `sweep`.
    Raises InputError with id, host and start of another process that has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / f".{what}.lock", thread_local=False), folder / f".{what}.owner.json"
    try:
        lock.acquire(timeout=patience_seconds)
    except Timeout as error:
        raise InputError(
            f"{folder}: this {what} is in use by {_owner(owner)}; wait for it, or stop that process first"
        ) from error
    try:
        since = datetime.datetime.now().isoformat(timespec="seconds")
        text = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since})
        write_text_atomically(owner, text)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path, what: str) -> bool:
    """Return whether a process has locked a folder."""
    path = folder / f".{what}.lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['process']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
