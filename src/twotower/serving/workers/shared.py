"""The private folder through which the workers of one service know of one another."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from twotower.files.atomic import write_text_atomically

READY, CLOSING, OTHERS_GONE = b"r", b"c", b"g"
"""Said to the process that started it: a worker answers, the writer answers no more; and to the writer."""
WRITER = 0
"""The number of the worker that writes."""
COUNT_IN = "PROMETHEUS_MULTIPROC_DIR"
"""The folder of `figures` in a worker's environment, where Prometheus' client looks when it is loaded."""
LONGEST = 80
"""Of the path of a folder with a Unix socket in it: the system takes some 100 bytes."""


@dataclass(frozen=True)
class InUse:
    """What the writer serves, and so all are to: `generation` counts the switches from bundle to bundle."""

    generation: int
    bundle: str
    root: str
    store: str


@dataclass(frozen=True)
class Shared:
    """The folder, and the files in it."""

    folder: Path
    num_workers: int

    @property
    def door(self) -> Path:
        """Where the writer takes what the others pass on."""
        return self.folder / "writer.socket"

    @property
    def figures(self) -> Path:
        """Where the workers count."""
        return self.folder / "figures"

    @property
    def log_lock(self) -> Path:
        """Held by whoever writes lines into the access log."""
        return self.folder / "log.lock"

    @property
    def own_store(self) -> Path:
        """The store where live changes are not to outlast the service."""
        return self.folder / "live.db"

    def use(self, what: InUse) -> None:
        """Tell all what is in use."""
        write_text_atomically(self._in_use, orjson.dumps(asdict(what)).decode())

    def in_use(self) -> InUse | None:
        """Return what is in use, None before the writer's first word."""
        try:
            return InUse(**orjson.loads(self._in_use.read_bytes()))
        except FileNotFoundError:
            return None

    def told_at(self) -> tuple[int, int]:
        """Return what differs once something else is in use; a file's number alone may come again."""
        found = self._in_use.stat()
        return found.st_ino, found.st_mtime_ns

    def set_ready(self, number: int, process: int | None) -> None:
        """Remember that a worker answers, as which process; None: it does not any more."""
        path = self._ready(number)
        if process is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(str(process))

    def processes(self) -> list[int]:
        """Return the processes that answer."""
        found = []
        for number in range(self.num_workers):
            with contextlib.suppress(FileNotFoundError, ValueError):  # not there, or not written yet
                found.append(int(self._ready(number).read_text()))
        return found

    def is_ready(self) -> bool:
        """Tell whether all workers answer."""
        return all(self._ready(number).exists() for number in range(self.num_workers))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _in_use(self) -> Path:
        return self.folder / "in_use.json"

    def _ready(self, number: int) -> Path:
        return self.folder / f"ready-{number}"


@contextlib.contextmanager
def private(num_workers: int) -> Iterator[Shared]:
    """Make the folder, which is nobody else's, and remove it at the end."""
    usual = tempfile.gettempdir()
    place = usual if len(os.fsencode(usual)) < LONGEST - len("/twotower-12345678") else "/tmp"
    shared = Shared(Path(tempfile.mkdtemp(prefix="twotower-", dir=place)), num_workers)  # 0700
    try:
        shared.figures.mkdir()
        yield shared
    finally:
        shared.remove()
