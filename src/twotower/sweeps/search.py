"""Base class of searches: objectives, number of trials, and a study that processes share."""

import dataclasses
import importlib.util
import sys
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.config.spec import PositiveInt, Seed
from twotower.runs.fingerprint import NOT_SHAPING, flat
from twotower.runs.folder_name import short_words, trial_name
from twotower.runs.result import Result, read_result_or_failure
from twotower.sweeps.job import Job, SweepContext
from twotower.sweeps.objectives import Direction, objective_direction, objective_problems, objective_values
from twotower.sweeps.pruning import PrunerName
from twotower.sweeps.space import Space
from twotower.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

LOOK_SECONDS, BEAT_SECONDS = 2.0, 10.0
"""Intervals for looking for trials of dead processes, and for the heartbeat of this one."""


class Search(Sweep):
    """Sequential trials, each proposed from the results of earlier ones.

    Several processes with the same command, on machines that share the folder, work on the same trials. After
    a kill, the same command continues.
    """

    class Config(Sweep.Config):
        """Settings of every search; a varied key may have an interval."""

        exclusive: ClassVar[bool] = False

        num_trials: PositiveInt = 40
        """Number of different configurations, over all processes."""
        objectives: dict[str, Direction] | None = None
        """Key of `result.json` -> `maximize` or `minimize`: `valid/...` metrics, or the index's figures such
        as `index/recall_at_100`, `index/latency_ms_p50`, `index/bytes_per_item`. With several, the result is
        the Pareto set. None: the monitored metric of the trainer."""
        pruner: PrunerName = "none"
        """Pruner, which stops trainings early by the monitored metric."""
        storage: str | None = None
        """Storage of the study: a journal file or a URL as in `sqlite:///outputs/study.db`; None: a journal
        in the folder of the sweep."""
        seed: Seed = 0
        """Seed of the search; trainings use the root `seed`."""
        num_startup: PositiveInt = 10
        """Random trials before the search and the median pruner start."""

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        super().__init__(config, context)
        if not context.axes:
            raise InputError(
                "sweep: no key varies; give a key an interval, as in 'embedding_dim=int(interval(16, 128))'"
            )
        self.space = Space(context.axes)
        settings = context.jobs(self.space.corners(), "the corners of this search")[0].settings
        chosen = objective_direction(context.monitor, settings)
        self.objectives = config.objectives or {context.monitor: chosen or "maximize"}
        problems = objective_problems(self.objectives, settings)
        raise_problems([*problems, *self._pruner_problems({context.monitor: chosen})])
        if importlib.util.find_spec("optuna") is None:
            raise InputError("sweep: a search needs Optuna; pip install 'twotower[search]'")
        from twotower.sweeps.study import storage_name
        from twotower.sweeps.trials import open_trials
        from twotower.training.trainer import TrainerChoice

        storage = storage_name(config.storage, context.folder)
        plain = flat({key: value for key, value in settings.items() if key not in NOT_SHAPING})
        identity = {
            "vary": self.space.record(),
            "objectives": self.objectives,
            "configuration": plain,
        }
        self.trials = open_trials(storage, context.folder, list(self.objectives.values()), identity)
        self.about = {
            "storage": storage,
            "study": self.trials.study.study_name,
            "pruner": config.pruner,
            "monitor": context.monitor,
            "direction": next(iter(self.objectives.values())),
            "max_epochs": TrainerChoice.Config.model_validate(settings["trainer"]).max_epochs,
            "num_startup": config.num_startup,
        }
        self.size = min(config.num_trials, self.space.size() or config.num_trials)
        by_job = self.trials.by_job()
        self.before = {job: trial for job, trial in by_job.items() if trial.state.is_finished()}
        failed = [job for job, trial in self.before.items() if trial.state.name == "FAIL"]
        self.to_retry = {job: self.before.pop(job) for job in failed if context.retry_failed}
        self.last_look = self.last_beat = float("-inf")

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """Return a new sampler; one is created for each trial, so its state must come from the study."""

    def _pruner_problems(self, reported: Mapping[str, Direction | None]) -> Iterator[Problem]:
        """Yield why trainings cannot be pruned by their monitored metric."""
        if self.config.pruner != "none" and self.objectives != reported:
            why = (
                "a pruner compares one metric, and this search has several objectives"
                if len(self.objectives) > 1
                else f"a pruner compares {min(reported)}, which is not the objective of this search"
            )
            yield Problem("sweep.pruner", f"{why}; set sweep.pruner=none")

    def done_before(self) -> list[Job]:
        """Return the jobs of finished trials."""
        return [self._job(trial) for trial in self.before.values()]

    @property
    def num_jobs(self) -> int:
        """Number of trials."""
        return max(self.size, len(self.before) + len(self.to_retry))

    def next(self, running: Collection[Job]) -> Job | None:
        """Return a trial of a dead process, one to retry, or a new one; wait while liveness is unknown."""
        while not running or time.monotonic() - self.last_look > LOOK_SECONDS:
            with self.trials.locked():
                job, unsure = self._next()
            if job is not None:
                return job
            self.last_look = time.monotonic()
            if not unsure or running:
                break
            time.sleep(1.0)
        return None

    def _next(self) -> tuple[Job | None, bool]:
        by_job = self.trials.by_job()
        dead, unsure = self.trials.abandoned(by_job.values())
        for trial in dead:
            self.trials.take_over(trial)
            job = self._job(trial)
            result = read_result_or_failure(job.folder)
            if result is None or (trial.user_attrs["again"] and result.status == "failed"):
                return job, False
            self._end(trial, result)
        while self.to_retry:
            name, failed = self.to_retry.popitem()
            if by_job[name].number == failed.number:  # no other process has retried it
                texts = failed.user_attrs["overrides"]
                retry = self.trials.add(name, failed.params, failed.distributions, texts, again=True)
                return self._job(retry), False
        return (self._new(by_job) if len(by_job) < self.size else None), unsure

    def _new(self, by_job: Mapping[str, "FrozenTrial"]) -> Job | None:
        """Start a new trial; without one, the search ends with the existing trials."""
        from twotower.sweeps.proposals import ExhaustedError, propose

        number = len(by_job)
        refused_or_used = {tuple(trial.user_attrs["overrides"]): "" for trial in by_job.values()}

        def accept(params: Mapping[str, Any]) -> Job | None:
            texts = self.space.texts(params)
            if texts in refused_or_used:
                return None
            try:
                return self.context.job(texts, trial_name(number, texts))
            except InputError as error:
                refused_or_used[texts] = f"{' '.join(texts)}: {error}"
                return None

        trials, directions = self.trials.all(), list(self.objectives.values())
        try:
            params, job = propose(self.space, trials, directions, self.sampler, self.config.seed, accept)
        except ExhaustedError as error:
            refused = next((f"\nfor example: {why}" for why in refused_or_used.values() if why), "")
            if not by_job:
                raise InputError(f"{error}{refused}") from error
            print(
                f"warning: the search ends with {number} of {self.size} trials: {error}{refused}",
                file=sys.stderr,
            )
            self.size = number
            return None
        texts = self.space.texts(params)
        trial = self.trials.add(job.name, params, self.space.distributions(), texts)
        return self._with_trial(job, trial, texts)

    def _job(self, trial: "FrozenTrial") -> Job:
        texts = trial.user_attrs["overrides"]
        return self._with_trial(self.context.job(texts, trial.user_attrs["job"]), trial, texts)

    def _with_trial(self, job: Job, trial: "FrozenTrial", texts: Sequence[str]) -> Job:
        about = self.about | {"number": trial.number}
        return dataclasses.replace(job, trial=about, tries=" ".join(short_words(texts)))

    def ended(self, job: Job, result: Result | None) -> None:
        """Record the end of a job in the study."""
        self.last_look = float("-inf")
        with self.trials.locked():
            trial = self.trials.by_job()[job.name]
            if self.trials.is_mine(trial):
                self._end(trial, result)
            else:
                print(
                    f"warning: trial {job.name} was taken over by another process, which records its result",
                    file=sys.stderr,
                )

    def _end(self, trial: "FrozenTrial", result: Result | None) -> None:
        status = "failed" if result is None else result.status
        values = objective_values(self.objectives, result) if result and result.finished else None
        error = None
        if values is None and status != "pruned":
            error = "died without a result" if result is None else result.error
            error = str(error or f"its result has no number for {', '.join(self.objectives)}")
        self.trials.end(trial, status, values, error)

    def beat(self, running: Collection[Job]) -> None:
        """Write the heartbeat of this process."""
        if time.monotonic() - self.last_beat > BEAT_SECONDS:
            self.trials.beat([job.name for job in running])
            self.last_beat = time.monotonic()

    def summary(self) -> dict[str, Any]:
        """Return the best trial or the Pareto set with commands, and the importance of keys."""
        from twotower.sweeps.search_summary import summarize_search
        from twotower.sweeps.study import quiet

        with quiet():
            return {"search": summarize_search(self.trials, self.objectives, self.context.fixed)}
