"""Base class of searches: objectives, number of trials, and a study that processes share."""

import dataclasses
import importlib.util
import sys
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from twotower.config.errors import InputError
from twotower.config.problems import Problem, raise_problems
from twotower.config.spec import PositiveInt, Seed
from twotower.runs.fingerprint import IRRELEVANT_KEYS, flatten
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

LOOK_SECONDS = 2.0
"""Interval for looking for trials of dead processes."""

ATTEMPTS = 100
"""Proposals in a row until a search without a valid new one ends."""


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
        problems = [*objective_problems(self.objectives, settings)]
        if config.pruner != "none" and self.objectives != {context.monitor: chosen}:
            why = (
                "a pruner compares one metric, and this search has several objectives"
                if len(self.objectives) > 1
                else f"a pruner compares {context.monitor}, which is not the objective of this search"
            )
            problems.append(Problem("sweep.pruner", f"{why}; set sweep.pruner=none"))
        raise_problems(problems)
        if importlib.util.find_spec("optuna") is None:
            raise InputError("sweep: a search needs Optuna; pip install 'twotower[search]'")
        from twotower.sweeps.study import SharedStudy, storage_name
        from twotower.training.trainer import TrainerChoice

        storage = storage_name(config.storage, context.folder)
        plain = flatten({key: value for key, value in settings.items() if key not in IRRELEVANT_KEYS})
        identity: dict[str, Mapping[str, Any]] = {
            "vary": self.space.record(),
            "objectives": self.objectives,
            "configuration": plain,
        }
        self.shared = SharedStudy(storage, context.folder, list(self.objectives.values()), identity)
        self.about = {
            "storage": storage,
            "study": self.shared.study.study_name,
            "pruner": config.pruner,
            "monitor": context.monitor,
            "direction": next(iter(self.objectives.values())),
            "max_epochs": TrainerChoice.Config.model_validate(settings["trainer"]).max_epochs,
            "num_startup": config.num_startup,
        }
        self.size = min(config.num_trials, self.space.size() or config.num_trials)
        by_job = self.shared.by_job()
        self.before = {job: trial for job, trial in by_job.items() if trial.state.is_finished()}
        failed = [job for job, trial in self.before.items() if trial.state.name == "FAIL"]
        self.to_retry = {job: self.before.pop(job) for job in failed if context.retry_failed}
        self.last_look = float("-inf")

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """Return a new sampler; one is created for each trial, so its state must come from the study."""

    def done_before(self) -> list[Job]:
        """Return the jobs of finished trials."""
        return [self._job(trial) for trial in self.before.values()]

    @property
    def num_jobs(self) -> int:
        """Number of trials."""
        return max(self.size, len(self.before) + len(self.to_retry))

    def next(self, running: Collection[Job]) -> Job | None:
        """Return a trial that a dead process has left, one to retry, or a new one; None without one."""
        if running and time.monotonic() - self.last_look < LOOK_SECONDS:
            return None
        with self.shared.locked():
            job = self._abandoned() or self._retry() or self._new()
        if job is None:
            self.last_look = time.monotonic()
        return job

    def _abandoned(self) -> Job | None:
        for trial in self.shared.by_job().values():
            if trial.state.is_finished() or not self.shared.claim(trial):
                continue
            job = self._job(trial)
            result = read_result_or_failure(job.folder)
            if result is None or (trial.user_attrs["is_retry"] and result.status == "failed"):
                return job
            self._end(trial, result)
        return None

    def _retry(self) -> Job | None:
        by_job = self.shared.by_job()
        while self.to_retry:
            name, failed = self.to_retry.popitem()
            if by_job[name].number == failed.number:  # no other process has retried it
                texts = failed.user_attrs["overrides"]
                return self._job(
                    self.shared.add(name, failed.params, failed.distributions, texts, is_retry=True)
                )
        return None

    def _new(self) -> Job | None:
        """Start a new trial; without a valid new configuration, the search ends with the existing trials.

        Optuna proposes on a copy of the study, so that the study has no refused proposals. Proposals depend
        only on the seed and the earlier trials: a killed search continues as if uninterrupted, and two
        processes never draw the same numbers. The sampler sees all trials, not one bracket of Hyperband.
        """
        from twotower.sweeps.study import copy_study

        by_job = self.shared.by_job()
        number = len(by_job)
        if number >= self.size:
            return None
        refused_or_used = {tuple(trial.user_attrs["overrides"]): "" for trial in by_job.values()}
        trials, directions = self.shared.trials(), list(self.objectives.values())
        distributions = self.space.distributions()

        def proposals() -> Iterator[Mapping[str, Any]]:
            for attempt in range(ATTEMPTS):
                drawn = np.random.SeedSequence([self.config.seed, len(trials), attempt]).generate_state(1)
                copy = copy_study(trials, directions, self.sampler(int(drawn[0])))
                yield copy.ask(distributions).params
            if self.space.size() is not None:
                yield from self.space.every()

        for params in proposals():
            texts = self.space.texts(params)
            if texts in refused_or_used:
                continue
            try:
                job = self.context.job(texts, trial_name(number, texts))
            except InputError as error:
                refused_or_used[texts] = f"{' '.join(texts)}: {error}"
                continue
            return self._job(self.shared.add(job.name, params, distributions, texts), job)
        message = (
            f"none of {ATTEMPTS} proposals in a row is a valid new configuration; check which values fit "
            "together, or lower sweep.num_trials"
        )
        message += next((f"\nfor example: {why}" for why in refused_or_used.values() if why), "")
        if not by_job:
            raise InputError(message)
        print(f"warning: the search ends with {number} of {self.size} trials: {message}", file=sys.stderr)
        self.size = number
        return None

    def _job(self, trial: "FrozenTrial", job: Job | None = None) -> Job:
        """Return the job of a trial, composed again unless it is known."""
        texts = trial.user_attrs["overrides"]
        job = job or self.context.job(texts, trial.user_attrs["job"])
        about = self.about | {"number": trial.number}
        return dataclasses.replace(job, trial=about, tries=" ".join(short_words(texts)))

    def ended(self, job: Job, result: Result | None) -> None:
        """Record the end of a job in the study."""
        self.last_look = float("-inf")
        with self.shared.locked():
            self._end(self.shared.by_job()[job.name], result)

    def _end(self, trial: "FrozenTrial", result: Result | None) -> None:
        status = "failed" if result is None else result.status
        values = objective_values(self.objectives, result) if result and result.finished else None
        error = None
        if values is None and status != "pruned":
            error = "died without a result" if result is None else result.error
            error = str(error or f"its result has no number for {', '.join(self.objectives)}")
        self.shared.end(trial, status, values, error)

    def summary(self) -> dict[str, Any]:
        """Return the best trial or the Pareto set with commands, and the importance of keys."""
        from twotower.sweeps.search_summary import summarize_search
        from twotower.sweeps.study import quiet

        with quiet():
            return {"search": summarize_search(self.shared, self.objectives, self.context.fixed)}
