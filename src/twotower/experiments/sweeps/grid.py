"""Grid sweep: every combination of values; and a training without each feature."""

import itertools
from collections.abc import Collection

from twotower.config.errors import InputError
from twotower.experiments.runs.fingerprint import IRRELEVANT_KEYS, override_key
from twotower.experiments.runs.result import Result, read_result_or_failure
from twotower.experiments.sweeps.sweep import Job, Sweep, SweepContext


class Grid(Sweep):
    """Runs every combination of values and cases; takes no intervals.

    Of jobs that share a training, one runs first.
    """

    class Config(Sweep.Config):
        cases: list[str] | None = None
        """Further jobs: each is a list of overrides, separated by spaces, e.g.
        `index=ivf_flat index.target_recall=0.9`."""

    config: Config

    def __init__(self, config: Config, context: SweepContext) -> None:
        super().__init__(config, context)
        self.jobs = context.jobs(self._combinations(), "the jobs of this sweep")
        results = [(job, read_result_or_failure(job.folder)) for job in self.jobs]
        self.waiting = [job for job, result in results if result is None or context.is_retried(result)]
        self.skipped = [job for job in self.jobs if job not in self.waiting]
        self.trained = {job.training for job, result in results if result and result.finished}

    def _combinations(self) -> list[tuple[str, ...]]:
        """Return the varied overrides of each job."""
        for axis in self.context.axes:
            if not axis.choices:
                raise InputError(
                    f"{axis.key}: a grid takes no interval; list values, or search with sweep=tpe or "
                    "sweep=random"
                )
        cases = self.cases() or [()]
        names = {override_key(text) for case in cases for text in case}
        varied = {axis.key for axis in self.context.axes}
        if both := names & (varied | {override_key(text) for text in self.context.fixed}):
            raise InputError(f"{min(both)}: the cases of this sweep set it; leave it out")
        if storage_keys := names & IRRELEVANT_KEYS:
            raise InputError(f"{min(storage_keys)}: sets where runs are stored, so no case may set it")
        axes = ([(f"{axis.key}={value}",) for value in axis.choices] for axis in self.context.axes)
        product = itertools.product(cases, *axes)
        combinations = list(dict.fromkeys(tuple(itertools.chain(*parts)) for parts in product))
        if combinations == [()]:
            raise InputError("sweep: no key varies; give a key several values, as in embedding_dim=32,64")
        return combinations

    def cases(self) -> list[tuple[str, ...]]:
        """Return the overrides of each case."""
        return [tuple(case.split()) for case in self.config.cases or ()]

    def varied_keys(self) -> list[str]:
        """Return the keys of cases and axes."""
        in_cases = [override_key(text) for case in self.cases() for text in case]
        return list(dict.fromkeys([*in_cases, *super().varied_keys()]))

    def done_before(self) -> list[Job]:
        """Return the jobs that are finished."""
        return self.skipped

    def next(self, running: Collection[Job]) -> Job | None:
        """Return the first job whose towers no running job trains."""
        training = {job.training for job in running} - self.trained
        for job in self.waiting:
            if job.training not in training or not job.settings["reuse"]:
                self.waiting.remove(job)
                return job
        return None

    def ended(self, job: Job, result: Result | None) -> None:
        """Record that the towers of a job are trained."""
        if result is not None and result.finished:
            self.trained.add(job.training)

    @property
    def num_jobs(self) -> int:
        """Number of jobs."""
        return len(self.jobs)


class FeatureAblation(Grid):
    """Runs the settings as they are, and without each feature that the towers or new items read.

    Features that the towers require, such as the residual of a tower, are not left out. Varied keys and
    seeds repeat all jobs, and `cases` adds others.
    """

    def __init__(self, config: Grid.Config, context: SweepContext) -> None:
        self.required: dict[str, str] = {}
        super().__init__(config, context)

    def cases(self) -> list[tuple[str, ...]]:
        """Return no override, then the removal of each feature, then the cases of the YAML."""
        from twotower.training.training_config import TrainingConfig  # imports torch

        settings, removals = self.context.compose(self.context.fixed), []
        for key in TrainingConfig.from_settings(settings).read_features():
            try:
                self.context.compose([*self.context.fixed, f"~{key}"])
                removals.append((f"~{key}",))
            except InputError as error:
                self.required[key] = str(error).strip().splitlines()[-1].strip()
        if not removals:
            raise InputError(
                "sweep=features: the towers read no feature that can be left out; "
                "user_tower.widths=[] item_tower.widths=[] reads all features"
            )
        return [(), *removals, *super().cases()]

    def notes(self) -> list[str]:
        """Return lines on the features that are not left out."""
        return [f"always read  {key}: {why}" for key, why in self.required.items()]
