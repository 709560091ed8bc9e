"""Hands out the trials of a search to the process that runs them, beside others that do the same."""

import dataclasses
import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from twotower.config.errors import InputError
from twotower.files.lock import held
from twotower.runs.fingerprint import NOT_SHAPING, flat
from twotower.runs.folder_name import trial_name
from twotower.runs.result import Result, read_ending
from twotower.sweeps.job import Job, Request
from twotower.sweeps.journal import REMEDY
from twotower.sweeps.objectives import Objectives
from twotower.sweeps.owner import BEAT_SECONDS
from twotower.sweeps.proposals import ExhaustedError, propose
from twotower.sweeps.search_summary import summary_of
from twotower.sweeps.space import Space
from twotower.sweeps.study import open_storage, open_study, quiet, same_or_refuse, storage_name
from twotower.sweeps.sweep import Plan
from twotower.sweeps.trials import AGAIN, JOB, LOCK, LOCK_SECONDS, OVERRIDES, Trials, is_whole

if TYPE_CHECKING:
    from twotower.sweeps.search import Search

LOG = logging.getLogger("twotower")
LOOK_SECONDS = 2.0
"""How often to look for trials of the dead while this process has jobs."""


class SearchPlan(Plan):
    """The trials of a study, handed out one by one until there are enough.

    Args:
        search: how to choose them.
        request: what was asked.
        space: checked.
        objectives: checked.
        settings: of some job, for what does not vary.
    """

    def __init__(
        self,
        search: "Search",
        request: Request,
        space: Space,
        objectives: Objectives,
        settings: Mapping[str, Any],
    ) -> None:
        self.search, self.request, self.space, self.objectives = search, request, space, objectives
        self.directions = list(objectives.directions.values())
        self.size = min(search.config.num_trials, space.size() or search.config.num_trials)
        self.trials = _open(search, request, space, objectives, settings)
        self.about = _facts_of_trials(search, self.trials, request, objectives, settings)
        by_job = self.trials.by_job()
        self.before = {job: trial for job, trial in by_job.items() if trial.state.is_finished()}
        failed = [job for job, trial in self.before.items() if trial.state == TrialState.FAIL]
        self.to_retry = {job: self.before.pop(job) for job in failed if request.retry_failed}
        self.looked = self.beaten = float("-inf")

    def done_before(self) -> list[Job]:
        """Return the jobs of the trials that had ended."""
        return [self._job(trial) for trial in self.before.values()]

    @property
    def num_jobs(self) -> int:
        """Return how many trials there are in all."""
        return max(self.size, len(self.before) + len(self.to_retry))

    def next(self, running: Collection[Job]) -> Job | None:
        """Return a dead process's trial, one to retry, or a new one; waits while it is unsure who is dead."""
        while not running or time.monotonic() - self.looked > LOOK_SECONDS:
            with self.trials.alone():
                job, unsure = self._next()
            if job is not None:
                return job
            self.looked = time.monotonic()
            if not unsure or running:
                break
            time.sleep(1.0)
        return None

    def _next(self) -> tuple[Job | None, bool]:
        by_job = self.trials.by_job()
        dead, unsure = self.trials.of_the_dead(by_job.values())
        for trial in dead:
            self.trials.take_over(trial)
            job = self._job(trial)
            result = read_ending(job.folder)
            if result is None or (trial.user_attrs[AGAIN] and result.status == "failed"):
                LOG.info("trial %s goes on: the process that ran it is gone", job.name)
                return job, False
            self._end(trial, result)
        while self.to_retry:
            name, failed = self.to_retry.popitem()
            if by_job[name].number == failed.number:  # no other process was first
                again = self.trials.add(
                    name, failed.params, failed.distributions, failed.user_attrs[OVERRIDES], again=True
                )
                return self._job(again), False
        return (self._new(by_job) if len(by_job) < self.size else None), unsure

    def _new(self, by_job: Mapping[str, FrozenTrial]) -> Job | None:
        """Begin a new trial; where none is left, the search is at its end, with those there are."""
        number = len(by_job)
        known = {tuple(trial.user_attrs[OVERRIDES]): "" for trial in by_job.values()}

        def accept(params: Mapping[str, Any]) -> Job | None:
            texts = self.space.texts(params)
            if texts in known:
                return None
            try:
                return self.request.job(texts, trial_name(number, texts))
            except InputError as error:
                known[texts] = f"{' '.join(texts)}: {error}"
                return None

        trials = self.trials.all()
        try:
            params, job = propose(
                self.space, trials, self.directions, self.search.sampler, self.search.config.seed, accept
            )
        except ExhaustedError as error:
            why = next(
                (f"{error}\nrefused, for one: {reason}" for reason in known.values() if reason), str(error)
            )
            if not by_job:
                raise InputError(why) from error
            LOG.warning("warning: the search ends with %d of %d trials: %s", len(by_job), self.size, why)
            self.size = len(by_job)
            return None
        texts = self.space.texts(params)
        trial = self.trials.add(job.name, params, self.space.distributions(), texts)
        return dataclasses.replace(job, trial=self.about | {"number": trial.number})

    def _job(self, trial: FrozenTrial) -> Job:
        about = self.about | {"number": trial.number}
        return self.request.job(trial.user_attrs[OVERRIDES], trial.user_attrs[JOB], about)

    def ended(self, job: Job, result: Result | None) -> None:
        """Tell the study how a job ended."""
        self.looked = float("-inf")
        with self.trials.alone():
            trial = self.trials.by_job()[job.name]
            if self.trials.is_mine(trial):
                self._end(trial, result)
            else:
                LOG.warning(
                    "warning: trial %s was taken over by another process; its end is not told", job.name
                )

    def _end(self, trial: FrozenTrial, result: Result | None) -> None:
        status = "failed" if result is None else result.status
        values = self.objectives.values(result) if result and result.finished else None
        if status == "pruned":
            self.trials.end(trial, TrialState.PRUNED, None, status, None)
        elif values is None:
            error = "died without a result" if result is None else result.error
            keys = ", ".join(self.objectives.directions)
            error = str(error or f"its result has no number for {keys}")
            self.trials.end(trial, TrialState.FAIL, None, status, error)
        else:
            self.trials.end(trial, TrialState.COMPLETE, values, status, None)

    def beat(self, running: Collection[Job]) -> None:
        """Say that this process lives, to those on other hosts."""
        if time.monotonic() - self.beaten > BEAT_SECONDS:
            self.trials.beat([job.name for job in running])
            self.beaten = time.monotonic()

    def summary(self) -> dict[str, Any]:
        """Return the best trial or the Pareto set, each with its command, and which keys mattered."""
        with quiet():
            return {"search": summary_of(self.trials, self.objectives, self.request.fixed)}


def _open(
    search: "Search", request: Request, space: Space, objectives: Objectives, settings: Mapping[str, Any]
) -> Trials:
    """Open the study, which must be about the same as it was."""
    storage = storage_name(search.config.storage, request.folder)
    with held(request.folder, LOCK, LOCK_SECONDS), quiet():
        opened = open_storage(storage)
        study = open_study(opened, _study_name(request.folder), list(objectives.directions.values()))
        _same_folder(study.user_attrs.get("folder"), request.folder)
        kept = {key: value for key, value in settings.items() if key not in NOT_SHAPING}
        facts = {"vary": space.record(), "objectives": objectives.directions, "configuration": flat(kept)}
        same_or_refuse(study, facts)
        study.set_user_attr("folder", str(request.folder.absolute()))
        trials = Trials(study, opened, request.folder)
        numbers = sorted(name.partition("_")[0] for name in trials.by_job())
        in_turn = numbers == sorted(f"{number:04d}" for number in range(len(numbers)))
        if not (in_turn and all(map(is_whole, trials.all()))):
            raise InputError(f"sweep.storage: {storage}: trials in it have lost a part of theirs; {REMEDY}")
        return trials


def _same_folder(there: str | None, folder: Path) -> None:
    if there is not None and Path(there) != folder.absolute() and Path(there).is_dir():
        raise InputError(
            f"sweep.storage: the jobs of this study are in {there}, not in {folder}; give this search "
            "another name="
        )


def _study_name(folder: Path) -> str:
    return "/".join(folder.absolute().parts[-2:])


def _facts_of_trials(
    search: "Search", trials: Trials, request: Request, objectives: Objectives, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every job's `trial` says, for `pruning.watch`."""
    from twotower.training.trainer import TrainerChoice

    return {
        "storage": storage_name(search.config.storage, request.folder),
        "study": trials.study.study_name,
        "pruner": search.config.pruner,
        "monitor": request.monitor,
        "direction": next(iter(objectives.directions.values())),
        "max_epochs": TrainerChoice.Config.model_validate(settings["trainer"]).max_epochs,
        "num_startup": search.config.num_startup,
    }
