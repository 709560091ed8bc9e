"""The trials of a study: whose they are, in which folder they run, and how they ended."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.files.lock import held
from twotower.sweeps.owner import Watchman, this_process
from twotower.sweeps.study import quiet, trial_id

LOCK, LOCK_SECONDS = "search", 120.0
"""The name of the lock, which is held for moments only, and how long to wait for it."""

JOB, OVERRIDES, OWNER, HEARTBEAT = "job", "overrides", "owner", "heartbeat"
AGAIN, STATUS, ERROR = "again", "status", "error"
"""What a trial carries beside Optuna's own."""


def is_whole(trial: FrozenTrial) -> bool:
    """Say whether a trial carries all that `Trials.add` gave it."""
    attributes = {JOB, OVERRIDES, OWNER, HEARTBEAT, AGAIN} <= trial.user_attrs.keys()
    return attributes and trial.params.keys() == trial.distributions.keys()


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
        self.study = study
        self.storage = storage
        self.folder = folder
        self.me = this_process()
        self.watchman = Watchman()

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
            self.watchman.is_dead(trial.user_attrs[OWNER], trial.user_attrs[HEARTBEAT]) for trial in running
        ]
        return [trial for trial, dead in zip(running, verdicts, strict=True) if dead], None in verdicts

    def take_over(self, trial: FrozenTrial) -> None:
        """Make a dead owner's trial this process's; call `alone`, with the trial as it is now."""
        for key, value in self._alive().items():
            self._set(trial.number, key, value)

    def beat(self, jobs: Collection[str]) -> None:
        """Say that the owner of these jobs lives."""
        with quiet():
            for job, trial in self.by_job().items():
                if job in jobs and self.is_mine(trial):
                    self._set(trial.number, HEARTBEAT, time.time())

    def is_mine(self, trial: FrozenTrial) -> bool:
        """Return whether a trial runs and is this process's still."""
        return trial.state == TrialState.RUNNING and trial.user_attrs[OWNER]["token"] == self.me["token"]

    def end(
        self,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
        status: str,
        error: str | None,
    ) -> None:
        """End a trial, with Optuna's state and the run's own status; call `alone`."""
        self._set(trial.number, STATUS, status)
        if error:
            self._set(trial.number, ERROR, error)
        self.study.tell(trial.number, values, state)

    def _alive(self) -> dict[str, Any]:
        return {OWNER: self.me, HEARTBEAT: time.time()}

    def _set(self, number: int, key: str, value: Any) -> None:
        self.storage.set_trial_user_attr(trial_id(self.storage, self.study.study_name, number), key, value)
