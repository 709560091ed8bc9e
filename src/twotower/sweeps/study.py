"""A study of Optuna's that several processes share, without Optuna's own words on the console."""

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
        path.parent.mkdir(parents=True, exist_ok=True)
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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and its warnings of what is experimental from the user."""
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
    """Return a storage as any process on this disk can open it.

    Args:
        storage: path of a journal file, or a URL as SQLAlchemy takes it; None for a journal in `folder`.
        folder: the sweep's.

    Raises:
        InputError: it cannot be shared.
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
            f"sweep.storage: {storage!r} lives in one process only; name a file, as in sqlite:///outputs/study.db"
        )
    return f"{SQLITE}{Path(path).absolute()}"


def open_storage(name: str) -> BaseStorage:
    """Open what `storage_name` named, made if it is not there.

    Raises:
        InputError: it is damaged, or cannot be reached.
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
    except Exception as error:  # of the file, the driver, the server or what they hold
        why = str(error).strip().split("\n")[0]
        raise InputError(f"sweep.storage: {name} cannot be opened ({why}); name another") from error


def open_study(
    storage: BaseStorage, name: str, directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Open a study, made if it is not there."""
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


def same_or_refuse(study: optuna.Study, facts: Mapping[str, Any]) -> None:
    """Remember what a study is about; one that is gone on with must be about the same.

    Args:
        study: new or not.
        facts: name of a group -> key -> plain value.

    Raises:
        InputError: names what differs.
    """
    there = study.user_attrs.get("about")
    if there is None:
        study.set_user_attr("about", facts)
        return
    differing = [
        f"{key} ({group}) was {_shown(before.get(key))}, is {_shown(values.get(key))}"
        for group, values in facts.items()
        for before in [there.get(group, {})]
        for key in sorted(before.keys() | values.keys())
        if before.get(key) != values.get(key)
    ]
    if differing:
        raise InputError(
            f"study {study.study_name!r} was made with other settings: {'; '.join(differing[:5])}; "
            "put them back to go on with it, or give this search another name="
        )


def _shown(value: Any) -> str:
    return "not there" if value is None else repr(value)
