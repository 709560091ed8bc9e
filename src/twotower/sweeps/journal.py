"""The file of an Optuna study, checked before it is believed or added to."""

import json
from os import SEEK_END
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from twotower.config.errors import InputError

OF_EVERY_ENTRY = {"op_code", "worker_id"}
REMEDY = "bring the file back from a copy, or begin a new search with another name= or sweep.storage="


class SystemLock(JournalFileOpenLock):
    """A lock on the journal that the system lets go of when a process dies, however it dies.

    Optuna's own stays behind after kill -9 and holds up everyone for half a minute.

    Args:
        path: of the journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.lock.acquire()
        return True

    def release(self) -> None:
        """Let go of it."""
        self.lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal; it would read past a line that is cut at the end, and add to it.

    Args:
        path: of the file, made if it is not there.

    Raises:
        InputError: the file is damaged, or something else.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, SystemLock(path)
        super().__init__(str(path), lock_obj=self.lock)
        with self.lock.lock:  # nobody is in the midst of writing a line
            self._check_lines()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries behind a whole last line.

        Raises:
            InputError: a process left it cut.
        """
        with self.lock.lock:
            with self.path.open("rb") as file:
                if size := file.seek(0, SEEK_END):
                    file.seek(size - 1)
                    if file.read() != b"\n":
                        raise self._cut()
            super().append_logs(logs)

    def _check_lines(self) -> None:
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if number > 1 and not line.endswith(b"\n"):
                    raise self._cut()
                if not _is_entry(line):
                    raise InputError(
                        f"sweep.storage: {self.path} cannot be opened (line {number} is no entry of an "
                        f"Optuna journal); {REMEDY}"
                    )

    def _cut(self) -> InputError:
        return InputError(
            f"sweep.storage: {self.path} cannot be opened (its last line is cut); delete that line (sed -i "
            f"'$d' does), and the search goes on with what stands before it; or {REMEDY}"
        )


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n") and isinstance(entry, dict) and entry.keys() >= OF_EVERY_ENTRY
