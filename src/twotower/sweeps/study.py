"""The Optuna study of a search: its journal file, its trials, and their summary. Imports Optuna."""

import contextlib
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from twotower.config.errors import InputError

Direction = Literal["maximize", "minimize"]
JOURNAL, STUDY = "study.journal", "search"
JOB, OVERRIDES, STATUS, ERROR = "job", "overrides", "status", "error"
"""User attributes of a trial."""


class JournalStudy:
    """The study of a search, in a journal file that the workers of the search share.

    Args:
        path: of the journal; created if needed.
        direction: `maximize` or `minimize`.

    Raises:
        InputError: the journal is damaged.
    """

    def __init__(self, path: Path, direction: Direction) -> None:
        self.direction = direction
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path))
        backend = JournalFileBackend(str(path), lock)
        lock.acquire()
        content = path.read_bytes()  # while no worker writes a line
        lock.release()
        try:
            if content and not content.endswith(b"\n"):  # Optuna would append to it
                raise ValueError("its last line is cut; delete that line, and the search continues")
            with quiet():
                self.storage = JournalStorage(backend)
                self.study = optuna.create_study(
                    storage=self.storage, study_name=STUDY, direction=direction, load_if_exists=True
                )
                _ = [trial.user_attrs[OVERRIDES] for trial in self.latest().values()]
        except Exception as error:  # any error, depending on what is damaged
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"{path}: damaged ({type(error).__name__}: {why}); restore the file from a copy, or start a "
                "new search with another name="
            ) from error

    def refuse_other_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings of the search, or raise InputError if they differ from the recorded ones."""
        stored = self.study.user_attrs.get("settings")
        if stored is None:
            self.study.set_user_attr("settings", settings)
            return
        differing = [
            f"{key} was {stored.get(key, 'not set')!r}, is {settings.get(key, 'not set')!r}"
            for key in sorted(stored.keys() | settings.keys())
            if stored.get(key) != settings.get(key)
        ]
        if differing:
            raise InputError(
                f"this search has run with other settings: {'; '.join(differing[:5])}; restore them to "
                "continue it, or give this search another name="
            )

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, read from the journal."""
        return self.study.get_trials(deepcopy=False)

    def latest(self) -> dict[str, FrozenTrial]:
        """Return name of the job -> its latest trial; a retry of a failed trial is another trial."""
        return {trial.user_attrs[JOB]: trial for trial in self.trials()}

    def add(
        self, job: str, params: Mapping[str, Any], distributions: Mapping[str, Any], overrides: Sequence[str]
    ) -> FrozenTrial:
        """Add a running trial."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={JOB: job, OVERRIDES: list(overrides)},
        )
        self.study.add_trial(trial)
        return self.latest()[job]

    def end(self, number: int, status: str, value: float | None, error: str | None) -> None:
        """End a trial.

        Args:
            number: of the trial.
            status: of the run.
            value: of the monitored metric, if any.
            error: of the run, if any.
        """
        self.storage.set_trial_user_attr(self.storage_id(number), STATUS, status)
        self.storage.set_trial_user_attr(self.storage_id(number), ERROR, error)
        failed = TrialState.PRUNED if status == "pruned" else TrialState.FAIL
        self.study.tell(number, value, failed if value is None else TrialState.COMPLETE)

    def storage_id(self, number: int) -> int:
        """Return the storage's id of a trial."""
        study_id = self.storage.get_study_id_from_name(STUDY)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def propose(
        self, sampler: Callable[[], BaseSampler], distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of a new trial; drawn on a copy, so that no refused one is in the study."""
        with quiet():
            copy = optuna.create_study(direction=self.direction, sampler=sampler())
            copy.add_trials(self.trials())
            return copy.ask(dict(distributions)).params

    def summary(self, metric: str, fixed: Sequence[str]) -> dict[str, Any]:
        """Return all trials as plain values, and the best one with the command that trains it again.

        A trial with a rejected index is never the best.

        Args:
            metric: that the search optimizes.
            fixed: overrides of all jobs.
        """
        trials = sorted(self.latest().values(), key=lambda trial: str(trial.user_attrs[JOB]))
        usable = [
            trial
            for trial in trials
            if trial.state == TrialState.COMPLETE and trial.user_attrs[STATUS] != "index_rejected"
        ]
        rows = {
            trial.number: {
                "job": trial.user_attrs[JOB],
                "number": trial.number,
                "state": trial.state.name.lower(),
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "overrides": trial.user_attrs[OVERRIDES],
                "error": trial.user_attrs.get(ERROR),
            }
            for trial in trials
        }
        choose = max if self.direction == "maximize" else min
        best = choose(usable, key=lambda trial: trial.value or 0.0, default=None)
        command = ["twotower", "train", *fixed, *(best.user_attrs[OVERRIDES] if best else ())]
        return {
            "metric": metric,
            "direction": self.direction,
            "num_trials": len(trials),
            "states": dict(Counter(trial.state.name.lower() for trial in trials)),
            "best": best and rows[best.number] | {"command": shlex.join(command)},
            "trials": list(rows.values()),
        }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress Optuna's log lines and experimental warnings."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        yield
