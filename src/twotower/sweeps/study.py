"""An Optuna study that several processes share: its storage, its trials, and which process runs a trial."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.config.errors import InputError
from twotower.files.lock import lock_folder
from twotower.sweeps.objectives import Direction

SQLITE, SQLITE_SECONDS = "sqlite:///", 60
LOCK_SECONDS = 120.0
"""How long to wait for another process that writes to a SQLite file, or that has locked the study."""

JOB, OVERRIDES, IS_RETRY, STATUS, ERROR = "job", "overrides", "is_retry", "status", "error"
"""User attributes of a trial."""

REMEDY = "restore the file from a copy, or start a new search with another name= or sweep.storage="


class SharedStudy:
    """The study of a search. Several processes, on machines that share the folder, work on its trials.

    Decisions that another process could make too are made while `locked`. The process that runs a trial locks
    `.trials/<number>.lock`. The operating system releases the lock if the process dies; the trial is then
    free, and another process resumes it with its number, parameters, folder and reports.

    Args:
        storage: see `storage_name`.
        folder: folder of the sweep; created if needed.
        directions: directions of the objectives.
        identity: settings of the study: name of a group -> key -> plain value.

    Raises:
        InputError: the study cannot be opened, or belongs to another folder or other settings.
    """

    def __init__(
        self,
        storage: str,
        folder: Path,
        directions: Sequence[Direction],
        identity: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.folder = folder.absolute()
        self.claims: dict[int, FileLock] = {}
        with self.locked():
            opened = open_storage(storage)
            self.study = open_study(opened, "/".join(self.folder.parts[-2:]), directions)
            self.storage = opened
            stored = Path(self.study.user_attrs.get("folder", self.folder))
            if stored != self.folder and stored.is_dir():
                raise InputError(
                    f"sweep.storage: the jobs of this study are in {stored}, not in {self.folder}; give this "
                    "search another name="
                )
            self._check_identity(identity)
            self.study.set_user_attr("folder", str(self.folder))

    def _check_identity(self, identity: Mapping[str, Mapping[str, Any]]) -> None:
        stored = self.study.user_attrs.get("about")
        if stored is None:
            self.study.set_user_attr("about", identity)
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
                f"study {self.study.study_name!r} has other settings: {'; '.join(differing[:5])}; "
                "restore them to continue it, or give this search another name="
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study. Raises InputError: another process does not release the lock."""
        with lock_folder(self.folder, "search", LOCK_SECONDS), quiet():
            yield

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, read from the storage."""
        return self.study.get_trials(deepcopy=False)

    def by_job(self) -> dict[str, FrozenTrial]:
        """Return name of the folder -> its latest trial."""
        return {trial.user_attrs[JOB]: trial for trial in self.trials() if JOB in trial.user_attrs}

    def add(
        self,
        job: str,
        params: Mapping[str, Any],
        distributions: Mapping[str, Any],
        overrides: Sequence[str],
        is_retry: bool = False,
    ) -> FrozenTrial:
        """Start a trial of this process; call while `locked`."""
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=dict(distributions),
                user_attrs={JOB: job, OVERRIDES: list(overrides), IS_RETRY: is_retry},
            )
        )
        trial = self.by_job()[job]
        self.claim(trial)
        return trial

    def claim(self, trial: FrozenTrial) -> bool:
        """Make this process the one that runs a trial; return False if a live process runs it."""
        if trial.number in self.claims:
            return False
        path = self.folder / ".trials" / f"{trial.number:04d}.lock"
        path.parent.mkdir(exist_ok=True)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self.claims[trial.number] = lock
        return True

    def end(self, trial: FrozenTrial, status: str, values: Sequence[float] | None, error: str | None) -> None:
        """End a trial of this process; call while `locked`.

        Args:
            trial: trial that this process has claimed.
            status: status of the run.
            values: values of the objectives; None if one is missing.
            error: error message of the run, if any.
        """
        storage_id = trial_id(self.storage, self.study.study_name, trial.number)
        for key, value in {STATUS: status, ERROR: error}.items():
            if value is not None:
                self.storage.set_trial_user_attr(storage_id, key, value)
        failed = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        self.study.tell(trial.number, values, TrialState.COMPLETE if values else failed)
        self.claims.pop(trial.number).release()


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
    if storage in ("sqlite://", SQLITE, f"{SQLITE}:memory:"):
        raise InputError(
            f"sweep.storage: {storage!r} is in memory, so processes cannot share it; name a file, as in "
            "sqlite:///outputs/study.db"
        )
    if storage.startswith(SQLITE):
        return f"{SQLITE}{Path(storage.removeprefix(SQLITE)).absolute()}"
    return storage if "://" in storage else str(Path(storage).absolute())


def open_storage(name: str) -> BaseStorage:
    """Open a storage, see `storage_name`; created if needed.

    Raises:
        InputError: the storage is damaged or unreachable.
    """
    try:
        if "://" not in name:
            return JournalStorage(_open_journal(Path(name)))
        from sqlalchemy.pool import NullPool

        arguments: dict[str, Any] = {"poolclass": NullPool}
        if name.startswith(SQLITE):
            Path(name.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
            arguments["connect_args"] = {"timeout": SQLITE_SECONDS}
        return RDBStorage(name, engine_kwargs=arguments)
    except InputError:
        raise
    except Exception as error:  # of the file, the driver or the server
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"sweep.storage: {name} cannot be opened ({why}); {REMEDY}") from error


def _open_journal(path: Path) -> JournalFileBackend:
    """Open a journal. Raises InputError: its last line is cut; Optuna would append to that line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    backend = JournalFileBackend(str(path), lock)
    lock.acquire()
    content = path.read_bytes()  # while no process writes a line
    lock.release()
    if content and not content.endswith(b"\n"):
        raise InputError(
            f"sweep.storage: {path} cannot be opened (its last line is cut); delete that line (sed -i '$d'), "
            f"and the search continues with the lines before it; or {REMEDY}"
        )
    return backend


def open_study(storage: BaseStorage, name: str, directions: Sequence[Direction]) -> optuna.Study:
    """Open a study; created if needed. Proposals are drawn from a copy of it, see `copy_study`."""
    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=list(directions),
        sampler=RandomSampler(),
        load_if_exists=True,
    )


def copy_study(
    trials: Sequence[FrozenTrial], directions: Sequence[Direction], sampler: BaseSampler | None = None
) -> optuna.Study:
    """Return an in-memory study with the same trials."""
    study = optuna.create_study(directions=list(directions), sampler=sampler)
    study.add_trials(trial for trial in trials if trial.state != TrialState.WAITING)
    return study


def trial_id(storage: BaseStorage, study_name: str, number: int) -> int:
    """Return the storage's own id of a trial."""
    study_id = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _text(value: Any) -> str:
    return "not set" if value is None else repr(value)
