"""An Optuna study that several processes share, with Optuna's log lines turned off."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import SEEK_END
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from twotower.config.errors import InputError
from twotower.sweeps.objectives import Direction

SQLITE = "sqlite:///"
PATIENCE_SECONDS = 60
"""How long to wait for another process that writes to the same SQLite file."""

OF_EVERY_ENTRY = {"op_code", "worker_id"}
REMEDY = "restore the file from a copy, or start a new search with another name= or sweep.storage="


class SystemLock(JournalFileOpenLock):
    """A lock on the journal that the operating system releases when a process dies.

    Optuna's lock file survives kill -9 and blocks other processes for half a minute.

    Args:
        path: path of the journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.lock.acquire()
        return True

    def release(self) -> None:
        """Release the lock."""
        self.lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal, with a check for lines that a killed process cut.

    Args:
        path: path of the file; created if needed.

    Raises:
        InputError: the file is damaged or not a journal.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.lock = path, SystemLock(path)
        super().__init__(str(path), lock_obj=self.lock)
        with self.lock.lock:  # no process is writing a line
            self._check_lines()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries.

        Raises:
            InputError: the last line is cut.
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
                        f"sweep.storage: {self.path} cannot be opened (line {number} is not an entry of "
                        f"an Optuna journal); {REMEDY}"
                    )

    def _cut(self) -> InputError:
        return InputError(
            f"sweep.storage: {self.path} cannot be opened (its last line is cut); delete that line (sed -i "
            f"'$d'), and the search continues with the lines before it; or {REMEDY}"
        )


def _is_entry(line: bytes) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n") and isinstance(entry, dict) and entry.keys() >= OF_EVERY_ENTRY


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's log lines and experimental warnings."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        logger.setLevel(before)


def storage_name(storage: str | None, folder: Path) -> str:
    """Return an absolute name of a storage.

    Args:
        storage: path of a journal file, or an SQLAlchemy URL; None: a journal in `folder`.
        folder: folder of the sweep.

    Raises:
        InputError: the storage cannot be shared by processes.
    """
    if storage is None:
        return str(folder.absolute() / "study.journal")
    if "://" not in storage:
        return str(Path(storage).absolute())
    if not storage.startswith("sqlite:"):
        return storage
    path = storage.removeprefix(SQLITE)
    if not storage.startswith(SQLITE) or path in ("", ":memory:"):
        raise InputError(
            f"sweep.storage: {storage!r} is in memory, so processes cannot share it; name a file, as in sqlite:///outputs/study.db"
        )
    return f"{SQLITE}{Path(path).absolute()}"


def open_storage(name: str) -> BaseStorage:
    """Open a storage, see `storage_name`; created if needed.

    Raises:
        InputError: the storage is damaged or unreachable.
    """
    try:
        if "://" not in name:
            return JournalStorage(Journal(Path(name)))
        from sqlalchemy.pool import NullPool

        arguments: dict[str, Any] = {"poolclass": NullPool}
        if name.startswith(SQLITE):
            Path(name.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
            arguments["connect_args"] = {"timeout": PATIENCE_SECONDS}
        return RDBStorage(name, engine_kwargs=arguments)
    except InputError:
        raise
    except Exception as error:  # of the file, the driver or the server
        why = str(error).strip().split("\n")[0]
        raise InputError(f"sweep.storage: {name} cannot be opened ({why}); name another storage") from error


def open_study(
    storage: BaseStorage, name: str, directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Open a study; created if needed."""
    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=list(directions),
        sampler=sampler or RandomSampler(),
        load_if_exists=True,
    )


def trial_id(storage: BaseStorage, study_name: str, number: int) -> int:
    """Return the storage's own id of a trial."""
    study_id = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def check_identity(study: optuna.Study, identity: Mapping[str, Any]) -> None:
    """Store the settings of a new study; refuse other settings for an existing one.

    Args:
        study: new or existing study.
        identity: name of a group -> key -> plain value.

    Raises:
        InputError: names the keys that differ.
    """
    stored = study.user_attrs.get("about")
    if stored is None:
        study.set_user_attr("about", identity)
        return
    differing = [
        f"{key} ({group}) was {_text(before.get(key))}, is {_text(values.get(key))}"
        for group, values in identity.items()
        for before in [stored.get(group, {})]
        for key in sorted(before.keys() | values.keys())
        if before.get(key) != values.get(key)
    ]
    if differing:
        raise InputError(
            f"study {study.study_name!r} has other settings: {'; '.join(differing[:5])}; "
            "restore them to continue it, or give this search another name="
        )


def _text(value: Any) -> str:
    return "not set" if value is None else repr(value)
