"""The trials of a study: whose they are, in which folder they run, and how they ended."""

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
from twotower.sweeps.study import REMEDY, open_storage, open_study, quiet, same_or_refuse, trial_id

LOCK, LOCK_SECONDS = "search", 120.0
"""The name of the lock, which is held for moments only, and how long to wait for it."""

JOB, OVERRIDES, OWNER, HEARTBEAT = "job", "overrides", "owner", "heartbeat"
AGAIN, STATUS, ERROR = "again", "status", "error"
"""What a trial carries beside Optuna's own."""

LOST_SECONDS, OBSERVE_SECONDS = 90.0, 25.0
"""How old an owner's last word raises doubt, and how long to watch for a new one then."""


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other, on any host, and this call from the next."""
    pid = os.getpid()
    return {"place": place(), "pid": pid, "started": started(pid), "token": uuid.uuid4().hex}


def place() -> str:
    """Return the host, its boot and its name space of processes: where a process id means something."""
    space = Path("/proc/self/ns/pid")  # of Linux: containers have their own
    return f"{socket.gethostname()} {psutil.boot_time():.0f} {space.readlink() if space.is_symlink() else ''}"


def started(pid: int) -> float | None:
    """Return when a process on this host started, or None if it has ended; ids are used again."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


class LivenessCheck:
    """Tells the dead from the living by their process, or by their heartbeat where that is on another host.

    The clocks of two hosts may differ: an old heartbeat alone proves nothing. One that is old and does not
    change while it is watched does.
    """

    def __init__(self) -> None:
        self.here = place()
        self.seen: dict[str, tuple[float, float]] = {}

    def is_dead(self, owner: Mapping[str, Any], heartbeat: float) -> bool | None:
        """Return whether an owner is dead, None while it is not known; ask again then.

        Args:
            owner: of `this_process`, there.
            heartbeat: seconds since the epoch, by the owner's clock.
        """
        if owner["place"] == self.here:
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
    """The trials of a study, as one of the processes sees them that work on it.

    Whoever decides something that another process might decide too does it `alone`. A trial whose owner died
    is taken over as it is, with its number, parameters, folder and reports, so that no work is counted twice.

    Args:
        study: shared.
        storage: of the study.
        folder: that all processes see; holds the lock.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, folder: Path) -> None:
        self.study, self.storage, self.folder = study, storage, folder
        self.me, self.liveness = this_process(), LivenessCheck()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other processes waiting; the system ends it if this process dies.

        Raises:
            InputError: another process holds the lock and stands still.
        """
        with held(self.folder, LOCK, LOCK_SECONDS), quiet():
            yield

    def all(self) -> list[FrozenTrial]:
        """Return every trial, as the storage has them now."""
        return self.study.get_trials(deepcopy=False)

    def by_job(self) -> dict[str, FrozenTrial]:
        """Return the folder's name -> its trial; of one that was run again, the latest."""
        return {trial.user_attrs[JOB]: trial for trial in self.all() if JOB in trial.user_attrs}

    def are_whole(self) -> bool:
        """Say whether the trials are numbered in turn, and each carries all that `add` gave it."""
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
        """Begin a trial, with its owner from the first moment on; call `alone`."""
        attributes = {JOB: job, OVERRIDES: list(overrides), AGAIN: again, **self._alive()}
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=dict(distributions),
                user_attrs=attributes,
            )
        )
        return self.by_job()[job]

    def of_the_dead(self, trials: Collection[FrozenTrial]) -> tuple[list[FrozenTrial], bool]:
        """Return the running trials whose owner is dead, and whether that is unsure of some."""
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        verdicts = [
            self.liveness.is_dead(trial.user_attrs[OWNER], trial.user_attrs[HEARTBEAT]) for trial in running
        ]
        return [trial for trial, dead in zip(running, verdicts, strict=True) if dead], None in verdicts

    def take_over(self, trial: FrozenTrial) -> None:
        """Make a dead owner's trial this process's; call `alone`, with the trial as it is now."""
        self.note(trial, **self._alive())

    def beat(self, jobs: Collection[str]) -> None:
        """Say that the owner of these jobs lives."""
        with quiet():
            for job, trial in self.by_job().items():
                if job in jobs and self.is_mine(trial):
                    self.note(trial, heartbeat=time.time())

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Return whether a trial runs and is this process's still."""
        return trial.state == TrialState.RUNNING and trial.user_attrs[OWNER]["token"] == self.me["token"]

    def end(self, trial: FrozenTrial, status: str, values: Sequence[float] | None, error: str | None) -> None:
        """End a trial as its run did; call `alone`.

        Args:
            trial: this process's.
            status: of the run.
            values: of the objectives, if it has them all.
            error: what went wrong, if anything.
        """
        self.note(trial, status=status, **({ERROR: error} if error else {}))
        failed = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        self.study.tell(trial.number, values, TrialState.COMPLETE if values else failed)

    def note(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Let a trial carry something."""
        place = trial_id(self.storage, self.study.study_name, trial.number)
        for key, value in attributes.items():
            self.storage.set_trial_user_attr(place, key, value)

    def _alive(self) -> dict[str, Any]:
        return {OWNER: self.me, HEARTBEAT: time.time()}


def open_trials(
    storage: str, folder: Path, directions: Sequence[Direction], facts: Mapping[str, Any]
) -> Trials:
    """Open the study of a folder, made if it is not there.

    Args:
        storage: as `storage_name` names it.
        folder: the sweep's.
        directions: of the objectives.
        facts: what the study is about; see `same_or_refuse`.

    Raises:
        InputError: it cannot be opened, is damaged, or about something else.
    """
    with held(folder, LOCK, LOCK_SECONDS), quiet():
        opened = open_storage(storage)
        here = folder.absolute()
        study = open_study(opened, "/".join(here.parts[-2:]), directions)
        there = Path(study.user_attrs.get("folder", here))
        if there != here and there.is_dir():
            raise InputError(
                f"sweep.storage: the jobs of this study are in {there}, not in {here}; give this search "
                "another name="
            )
        same_or_refuse(study, facts)
        study.set_user_attr("folder", str(here))
        trials = Trials(study, opened, folder)
        if not trials.are_whole():
            raise InputError(f"sweep.storage: {storage}: trials in it have lost a part of theirs; {REMEDY}")
        return trials
