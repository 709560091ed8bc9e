"""What all searches have in common: objectives, a number of trials, a study that processes share."""

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
from twotower.sweeps.objectives import Direction, objective_problems, values_of, way_of
from twotower.sweeps.pruning import PrunerName
from twotower.sweeps.space import Space
from twotower.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

LOOK_SECONDS, BEAT_SECONDS = 2.0, 10.0
"""How often to look for trials of the dead while this process has jobs, and to give word that it lives."""


class Search(Sweep):
    """Trials that are chosen one after the other, each in the light of those before.

    The same command started several times, on one machine or on several that see the same folder, works on
    the same trials; started again after it was killed, it goes on.
    """

    class Config(Sweep.Config):
        """Settings of every search; what varies may be an interval."""

        exclusive: ClassVar[bool] = False

        num_trials: PositiveInt = 40
        """How many different configurations to try, all processes together."""
        objectives: dict[str, Direction] | None = None
        """Key of `result.json` -> `maximize` or `minimize`: `valid/...` metrics, or the index's figures such
        as `index/recall_at_100`, `index/latency_ms_p50`, `index/bytes_per_item`. With several, the result is
        the Pareto set. None = the metric that the trainer monitors, as good as can be."""
        pruner: PrunerName = "none"
        """Which trainings to stop early, by the monitored metric."""
        storage: str | None = None
        """Of the study: path of a journal file or a URL as in `sqlite:///outputs/study.db`; None for a
        journal in the sweep's folder."""
        seed: Seed = 0
        """Of the search; the trainings have the root's."""
        num_startup: PositiveInt = 10
        """Trials before the search and the median rule have an opinion."""

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        super().__init__(config, context)
        if not context.axes:
            raise InputError(
                "sweep: nothing varies; give a key an interval, as in 'embedding_dim=int(interval(16, 128))'"
            )
        self.space = Space(context.axes)
        settings = context.jobs(self.space.corners(), "the corners of this search")[0].settings
        chosen = way_of(context.monitor, settings)
        # A monitor without a better way is refused where settings are checked, an unknown one here.
        self.objectives = config.objectives or {context.monitor: chosen or "maximize"}
        problems = objective_problems(self.objectives, settings)
        raise_problems([*problems, *self._pruner_problems({context.monitor: chosen})])
        if importlib.util.find_spec("optuna") is None:
            raise InputError("sweep: a search needs Optuna; pip install 'twotower[search]'")
        from twotower.sweeps.study import storage_name
        from twotower.sweeps.trials import open_trials
        from twotower.training.trainer import TrainerChoice

        storage = storage_name(config.storage, context.folder)
        kept = flat({key: value for key, value in settings.items() if key not in NOT_SHAPING})
        facts = {"vary": self.space.record(), "objectives": self.objectives, "configuration": kept}
        self.trials = open_trials(storage, context.folder, list(self.objectives.values()), facts)
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
        self.looked = self.beaten = float("-inf")

    @abstractmethod
    def sampler(self, seed: int) -> "BaseSampler":
        """Return what proposes trials; a new one for each, so it must find all it knows in the study."""

    def _pruner_problems(self, shown: Mapping[str, Direction | None]) -> Iterator[Problem]:
        """Yield why no training can be stopped early by what it shows after each epoch."""
        if self.config.pruner != "none" and self.objectives != shown:
            why = (
                "with several objectives no trial is worse than another by one metric alone"
                if len(self.objectives) > 1
                else f"a training shows {min(shown)} after each epoch, which is not what this search goes by"
            )
            yield Problem("sweep.pruner", f"{why}; set sweep.pruner=none")

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
            result = read_result_or_failure(job.folder)
            if result is None or (trial.user_attrs["again"] and result.status == "failed"):
                return job, False
            self._end(trial, result)
        while self.to_retry:
            name, failed = self.to_retry.popitem()
            if by_job[name].number == failed.number:  # no other process was first
                texts = failed.user_attrs["overrides"]
                again = self.trials.add(name, failed.params, failed.distributions, texts, again=True)
                return self._job(again), False
        return (self._new(by_job) if len(by_job) < self.size else None), unsure

    def _new(self, by_job: Mapping[str, "FrozenTrial"]) -> Job | None:
        """Begin a new trial; where none is left, the search is at its end, with those there are."""
        from twotower.sweeps.proposals import ExhaustedError, propose

        number = len(by_job)
        known = {tuple(trial.user_attrs["overrides"]): "" for trial in by_job.values()}

        def accept(params: Mapping[str, Any]) -> Job | None:
            texts = self.space.texts(params)
            if texts in known:
                return None
            try:
                return self.context.job(texts, trial_name(number, texts))
            except InputError as error:
                known[texts] = f"{' '.join(texts)}: {error}"
                return None

        trials, ways = self.trials.all(), list(self.objectives.values())
        try:
            params, job = propose(self.space, trials, ways, self.sampler, self.config.seed, accept)
        except ExhaustedError as error:
            refused = next((f"\nrefused, for one: {why}" for why in known.values() if why), "")
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
        return self._followed(job, trial, texts)

    def _job(self, trial: "FrozenTrial") -> Job:
        texts = trial.user_attrs["overrides"]
        return self._followed(self.context.job(texts, trial.user_attrs["job"]), trial, texts)

    def _followed(self, job: Job, trial: "FrozenTrial", texts: Sequence[str]) -> Job:
        about = self.about | {"number": trial.number}
        return dataclasses.replace(job, trial=about, tries=" ".join(short_words(texts)))

    def ended(self, job: Job, result: Result | None) -> None:
        """Tell the study how a job ended."""
        self.looked = float("-inf")
        with self.trials.alone():
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
        values = values_of(self.objectives, result) if result and result.finished else None
        error = None
        if values is None and status != "pruned":
            error = "died without a result" if result is None else result.error
            error = str(error or f"its result has no number for {', '.join(self.objectives)}")
        self.trials.end(trial, status, values, error)

    def beat(self, running: Collection[Job]) -> None:
        """Say that this process lives, to those on other hosts."""
        if time.monotonic() - self.beaten > BEAT_SECONDS:
            self.trials.beat([job.name for job in running])
            self.beaten = time.monotonic()

    def summary(self) -> dict[str, Any]:
        """Return the best trial or the Pareto set, each with its command, and which keys mattered."""
        from twotower.sweeps.search_summary import summary_of
        from twotower.sweeps.study import quiet

        with quiet():
            return {"search": summary_of(self.trials, self.objectives, self.context.fixed)}
