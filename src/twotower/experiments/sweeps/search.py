"""Search with Optuna: number of trials, the next trial, and pruning."""

import dataclasses
import functools
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from twotower.config.errors import InputError
from twotower.config.spec import PositiveInt, Seed
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS, flatten
from twotower.experiments.runs.folder_name import trial_name
from twotower.experiments.runs.higher_is_better import higher_is_better
from twotower.experiments.runs.result import Result, read_result_or_failure
from twotower.experiments.sweeps.sweep import Job, Sweep, SweepContext

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

LOG = logging.getLogger("twotower")
ATTEMPTS = 100
"""Proposals in a row until a search without a valid new one ends."""


class Search(Sweep):
    """Sequential trials, each proposed from the results of earlier ones; the same command continues.

    It optimizes the metric `trainer.monitor` in its better direction. For another sampler of Optuna, override
    `sampler`.
    """

    class Config(Sweep.Config):
        """Settings of every search; a varied key may have an interval."""

        num_trials: PositiveInt = 40
        """Number of different configurations."""
        sampler: Literal["tpe", "random"] = "tpe"
        """Multivariate tree-structured Parzen estimator, or independent uniform draws, the reference."""
        pruner: Literal["median", "none"] = "none"
        """Pruner, which stops trainings early by the monitored metric."""
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
        if importlib.util.find_spec("optuna") is None:
            raise InputError("sweep: a search needs Optuna; pip install 'twotower[search]'")
        from twotower.evaluation.evaluator import Evaluator
        from twotower.experiments.sweeps.study import JOURNAL, JournalStudy, Space

        self.space = Space(context.axes)
        settings = context.jobs(self.space.corners(), "the corners of this search")[0].settings
        journal = context.folder.absolute() / JOURNAL
        directions = Evaluator.Config.model_validate(settings["metrics"]).higher_is_better()
        is_lower_better = higher_is_better(context.monitor, [directions]) is False
        self.study = JournalStudy(journal, "minimize" if is_lower_better else "maximize")
        self.study.refuse_other_settings(
            flatten({key: value for key, value in settings.items() if key not in IRRELEVANT_KEYS})
            | {f"sweep.vary.{key}": text for key, text in self.space.record().items()}
        )
        self.pruning = {
            "journal": str(journal),
            "direction": self.study.direction,
            "num_startup": config.num_startup,
        }
        self.size = min(config.num_trials, self.space.size() or config.num_trials)
        self.done = [
            trial
            for name, trial in self.study.latest().items()
            if trial.state.is_finished() and not (context.retry_failed and self._has_failed(name, trial))
        ]
        self.started: set[str] = {trial.user_attrs["job"] for trial in self.done}

    def sampler(self, seed: int) -> "BaseSampler":
        """Return a new sampler; one is created for each trial, so its state must come from the study.

        Running trials count as bad ones (constant liar), so trials that run in parallel differ.

        References: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; Watanabe 2023,
        "Tree-structured Parzen estimator: understanding its algorithm components"; Bergstra and Bengio 2012,
        "Random search for hyper-parameter optimization".
        """
        from optuna.samplers import RandomSampler, TPESampler

        if self.config.sampler == "random":
            return RandomSampler(seed=seed)
        return TPESampler(
            n_startup_trials=self.config.num_startup, multivariate=True, constant_liar=True, seed=seed
        )

    def done_before(self) -> list[Job]:
        """Return the jobs of finished trials."""
        return list(map(self._job, self.done))

    def _has_failed(self, name: str, trial: "FrozenTrial") -> bool:
        if trial.state.name == "FAIL":
            return True
        result = read_result_or_failure(self.context.folder / name)
        return result is not None and result.has_failed

    @property
    def num_jobs(self) -> int:
        """Number of trials."""
        return max(self.size, len(self.study.latest()))

    def next(self, running: Collection[Job]) -> Job | None:
        """Return a trial that a stopped process has left, one to retry, or a new one; None without one."""
        left = (pair for pair in self.study.latest().items() if pair[0] not in self.started)
        if (earlier := next(left, None)) is None:
            job = self._new()
        else:
            name, trial = earlier
            if trial.state.is_finished():  # a failed one; its retry is another trial
                trial = self.study.add(name, trial.params, self.space, trial.user_attrs["overrides"])
            job = self._job(trial)
        if job is not None:
            self.started.add(job.name)
        return job

    def _new(self) -> Job | None:
        """Start a new trial; without a valid new configuration, the search ends with the existing trials."""
        by_job = self.study.latest()
        number = len(by_job)
        if number >= self.size:
            return None
        refused_or_used = {tuple(trial.user_attrs["overrides"]): "" for trial in by_job.values()}
        for params in self._proposals():
            texts = self.space.texts(params)
            if texts in refused_or_used:
                continue
            try:
                job = self.context.job(texts, trial_name(number, texts))
            except InputError as error:
                refused_or_used[texts] = f"{' '.join(texts)}: {error}"
                continue
            return self._job(self.study.add(job.name, params, self.space, texts), job)
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

    def _proposals(self) -> Iterator[Mapping[str, Any]]:
        """Yield proposals for the next trial; at last every configuration of a finite space.

        They depend only on the seed and the earlier trials: a killed search continues as if uninterrupted.
        """
        for attempt in range(ATTEMPTS):
            drawn = np.random.SeedSequence([self.config.seed, len(self.study.trials()), attempt])
            seed = int(drawn.generate_state(1)[0])
            yield self.study.propose(functools.partial(self.sampler, seed), self.space)
        yield from self.space.every()

    def _job(self, trial: "FrozenTrial", job: Job | None = None) -> Job:
        """Return the job of a trial, composed again unless it is known."""
        job = job or self.context.job(trial.user_attrs["overrides"], trial.user_attrs["job"])
        if self.config.pruner == "none":
            return job
        from twotower.training.trainer import TrainerChoice

        epochs = TrainerChoice.Config.model_validate(job.settings["trainer"]).max_epochs
        pruning = self.pruning | {"number": trial.number, "max_epochs": epochs}
        return dataclasses.replace(job, trial=pruning)

    def ended(self, job: Job, result: Result | None) -> None:
        """Record the end of a job in the study."""
        status, value, error = "failed", None, "died without a result"
        if result is not None:
            status, error = result.status, result.error or ""
            value = result.figures().get(self.context.monitor) if result.finished else None
        if value is None and status != "pruned":
            error = error or f"its result has no number for {self.context.monitor}"
        self.study.end(self.study.latest()[job.name].number, status, value, error or None)

    def summary(self) -> dict[str, Any]:
        """Return the trials, and the best one with its command."""
        return {"search": self.study.summary(self.context.monitor, self.context.fixed)}


def make_pruning_callback(trial: Mapping[str, Any]) -> Callable[[int, float | None], bool]:
    """Return a callback of the training: (epoch from 0, monitored metric) -> whether to stop.

    It is also called after each step, without a metric. After a resume, an epoch may be reported twice. A
    pruner stops from the second epoch on, and not before a quarter of `max_epochs`.

    Args:
        trial: `Job.trial`; `seconds` is a time limit from now on.

    Reference: Golovin et al. 2017, "Google Vizier" (the median rule).
    """
    if "seconds" in trial:
        end = time.monotonic() + trial["seconds"]
        return lambda epoch, value: time.monotonic() > end
    from optuna.pruners import MedianPruner

    from twotower.experiments.sweeps.study import JournalStudy

    shared = JournalStudy(Path(trial["journal"]), trial["direction"])
    storage_id, epochs = shared.storage_id(trial["number"]), trial["max_epochs"]
    first = min(epochs, max(2, epochs // 4))
    pruner = MedianPruner(max(2, trial["num_startup"] // 2), n_warmup_steps=first)

    def should_stop(epoch: int, value: float | None) -> bool:
        if value is None:
            return False
        try:
            shared.storage.set_trial_intermediate_value(storage_id, epoch + 1, value)
            # Never after the last epoch: a stopped trial has no result.
            return epoch + 1 < epochs and pruner.prune(shared.study, shared.storage.get_trial(storage_id))
        except (OSError, ValueError) as error:  # the training continues
            LOG.warning("the journal of the search cannot be read, so no trial is pruned: %s", error)
            return False

    return should_stop
