"""How far a store was acknowledged, kept beside it: by that a store which has lost something is known."""

import contextlib
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from twotower.files.atomic import write_text_atomically

LOG = logging.getLogger("twotower")


@dataclass(frozen=True)
class Acknowledged:
    """How far a store goes, or was promised to.

    Args:
        last: number of the latest change that somebody was told is kept.
    """

    store: str
    last: int

    def line(self) -> bytes:
        """Return it as the one line of its file; always as long."""
        content = f"{self.store} {self.last:020d}"
        return f"{content} {zlib.crc32(content.encode()):08x}\n".encode()


def promise_file(store: Path) -> Path:
    """Return the file in which a store's promises are kept."""
    return store.with_name(f".{store.name}.acknowledged")


def promised(store: Path) -> Acknowledged | None:
    """Read what was promised of a store; None where nothing was, or where that cannot be known any more."""
    path = promise_file(store)
    if not path.is_file():
        return None
    content = path.read_bytes()
    with contextlib.suppress(ValueError):  # of another number of words, no number, no UTF-8
        identity, last, _ = content.decode().split()
        found = Acknowledged(identity, int(last))
        if found.line() == content:
            return found
    LOG.warning("%s: damaged, so nobody can tell whether the store lacks something; it is written anew", path)
    return None


class Promises:
    """Writes promises over one another.

    Not synced each time, which would double the wait for the disk: the system has it when `keep` returns, so
    it outlives the process. After a loss of power it may be behind the store, never before it.

    Args:
        first: written and synced at once.
    """

    def __init__(self, path: Path, first: Acknowledged) -> None:
        write_text_atomically(path, first.line().decode())
        self._store = first.store
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def keep(self, last: int) -> None:
        """Remember that the change of this number was kept; the change itself is on the disk already."""
        try:
            os.pwrite(self._descriptor, Acknowledged(self._store, last).line(), 0)
        except OSError as error:  # one change later is told of the less
            LOG.warning("how far the store was acknowledged could not be written (%s)", error)

    def close(self) -> None:
        """Sync it and let go."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)
