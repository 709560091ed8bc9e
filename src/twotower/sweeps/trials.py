"""The trials of a study: owner process, folder of the run, and end."""

import os
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import psutil  # type: ignore[import-untyped]
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.config.errors import InputError
from twotower.files.lock import held
from twotower.sweeps.objectives import Direction
from twotower.sweeps.study import REMEDY, check_identity, open_storage, open_study, quiet, trial_id

LOCK, LOCK_SECONDS = "search", 120.0
"""Name of the lock, and how long to wait for it."""

JOB, OVERRIDES, OWNER, HEARTBEAT = "job", "overrides", "owner", "heartbeat"
AGAIN, STATUS, ERROR = "again", "status", "error"
"""User attributes of a trial."""

LOST_SECONDS, OBSERVE_SECONDS = 90.0, 25.0
"""Age of a heartbeat that raises doubt, and how long to wait for a new one then."""


def this_process() -> dict[str, Any]:
    """Return a unique identity of this process."""
    pid = os.getpid()
    return {"host": host(), "pid": pid, "started": started(pid), "token": uuid.uuid4().hex}


def host() -> str:
    """Return host, boot time and process name space, within which a process id is unique."""
    space = Path("/proc/self/ns/pid")  # Linux; containers have separate ones
    return f"{socket.gethostname()} {psutil.boot_time():.0f} {space.readlink() if space.is_symlink() else ''}"


def started(pid: int) -> float | None:
    """Return the start time of a process on this host, None if it has ended; process ids are reused."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


class LivenessCheck:
    """Checks whether owners are alive: by process on this host, by heartbeat on other hosts.

    The clocks of hosts may differ, so an old heartbeat alone proves nothing. An owner is dead if its old
    heartbeat does not change for `OBSERVE_SECONDS`.
    """

    def __init__(self) -> None:
        self.here = host()
        self.seen: dict[str, tuple[float, float]] = {}

    def is_dead(self, owner: Mapping[str, Any], heartbeat: float) -> bool | None:
        """Return whether an owner is dead, None while unknown.

        Args:
            owner: `this_process` of the owner.
            heartbeat: Unix seconds by the clock of the owner.
        """
        if owner["host"] == self.here:
            return bool(started(owner["pid"]) != owner["started"])
        if abs(time.time() - heartbeat) <= LOST_SECONDS:
            return False
        now = time.monotonic()
        last, since = self.seen.setdefault(owner["token"], (heartbeat, now))
        if last != heartbeat:
            self.seen[owner["token"]] = heartbeat, now
            return False
        return True if now - since >= OBSERVE_SECONDS else None


class Trials:
    """The trials of a study that several processes share.

    Decisions that other processes could make too are made while `locked`. A trial of a dead owner is taken
    over with its number, parameters, folder and reports.

    Args:
        study: shared study.
        storage: storage of the study.
        folder: shared folder of the lock.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, folder: Path) -> None:
        self.study, self.storage, self.folder = study, storage, folder
        self.me, self.liveness = this_process(), LivenessCheck()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study; the operating system releases the lock if this process dies.

        Raises:
            InputError: another process does not release the lock.
        """
        with held(self.folder, LOCK, LOCK_SECONDS), quiet():
            yield

    def all(self) -> list[FrozenTrial]:
        """Return all trials, read from the storage."""
        return self.study.get_trials(deepcopy=False)

    def by_job(self) -> dict[str, FrozenTrial]:
        """Return name of the folder -> its latest trial."""
        return {trial.user_attrs[JOB]: trial for trial in self.all() if JOB in trial.user_attrs}

    def are_complete(self) -> bool:
        """Return whether trial numbers have no gap and each trial has all attributes of `add`."""
        numbers = sorted(name.partition("_")[0] for name in self.by_job())
        return numbers == sorted(f"{number:04d}" for number in range(len(numbers))) and all(
            {JOB, OVERRIDES, OWNER, HEARTBEAT, AGAIN} <= trial.user_attrs.keys()
            and trial.params.keys() == trial.distributions.keys()
            for trial in self.all()
        )

    def add(
        self,
        job: str,
        params: Mapping[str, Any],
        distributions: Mapping[str, Any],
        overrides: Sequence[str],
        again: bool = False,
    ) -> FrozenTrial:
        """Start a trial of this process; call while `locked`."""
        attributes = {JOB: job, OVERRIDES: list(overrides), AGAIN: again, **self._ownership()}
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=dict(distributions),
                user_attrs=attributes,
            )
        )
        return self.by_job()[job]

    def abandoned(self, trials: Collection[FrozenTrial]) -> tuple[list[FrozenTrial], bool]:
        """Return running trials with a dead owner, and whether any owner is unknown."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        is_dead = [
            self.liveness.is_dead(trial.user_attrs[OWNER], trial.user_attrs[HEARTBEAT]) for trial in running
        ]
        return [trial for trial, dead in zip(running, is_dead, strict=True) if dead], None in is_dead

    def take_over(self, trial: FrozenTrial) -> None:
        """Make this process the owner of a trial; call while `locked`."""
        self.set_attributes(trial, **self._ownership())

    def beat(self, jobs: Collection[str]) -> None:
        """Write the heartbeat of these jobs."""
        with quiet():
            for job, trial in self.by_job().items():
                if job in jobs and self.is_mine(trial):
                    self.set_attributes(trial, heartbeat=time.time())

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Return whether a trial is running and owned by this process."""
        return trial.state == TrialState.RUNNING and trial.user_attrs[OWNER]["token"] == self.me["token"]

    def end(self, trial: FrozenTrial, status: str, values: Sequence[float] | None, error: str | None) -> None:
        """End a trial; call while `locked`.

        Args:
            trial: trial of this process.
            status: status of the run.
            values: values of the objectives; None if one is missing.
            error: error message of the run, if any.
        """
        self.set_attributes(trial, status=status, **({ERROR: error} if error else {}))
        failed = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        self.study.tell(trial.number, values, TrialState.COMPLETE if values else failed)

    def set_attributes(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Set user attributes of a trial."""
        storage_id = trial_id(self.storage, self.study.study_name, trial.number)
        for key, value in attributes.items():
            self.storage.set_trial_user_attr(storage_id, key, value)

    def _ownership(self) -> dict[str, Any]:
        return {OWNER: self.me, HEARTBEAT: time.time()}


def open_trials(
    storage: str, folder: Path, directions: Sequence[Direction], identity: Mapping[str, Any]
) -> Trials:
    """Open the study of a folder; created if needed.

    Args:
        storage: see `storage_name`.
        folder: folder of the sweep.
        directions: directions of the objectives.
        identity: settings of the study; see `check_identity`.

    Raises:
        InputError: the study cannot be opened, is damaged, or has other settings.
    """
    with held(folder, LOCK, LOCK_SECONDS), quiet():
        opened = open_storage(storage)
        here = folder.absolute()
        study = open_study(opened, "/".join(here.parts[-2:]), directions)
        stored = Path(study.user_attrs.get("folder", here))
        if stored != here and stored.is_dir():
            raise InputError(
                f"sweep.storage: the jobs of this study are in {stored}, not in {here}; give this search "
                "another name="
            )
        check_identity(study, identity)
        study.set_user_attr("folder", str(here))
        trials = Trials(study, opened, folder)
        if not trials.are_complete():
            raise InputError(f"sweep.storage: {storage}: its trials are incomplete; {REMEDY}")
        return trials
