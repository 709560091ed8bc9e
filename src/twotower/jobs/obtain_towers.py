"""Obtain the towers of a run: train them, load them from an equal run, or continue a parent's training."""

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.experiments.runs import sections, trainings
from twotower.experiments.runs.result import read_result
from twotower.jobs.follow import training_processes
from twotower.jobs.open_run import check_unchanged_data
from twotower.jobs.parent_towers import continue_training, train_context
from twotower.jobs.quality import read_quality, validate_baselines
from twotower.jobs.run_config import WarmStartRunConfig
from twotower.jobs.run_context import Quality, RunContext
from twotower.training.callbacks.curves import EpochCallback
from twotower.training.parts import check_weights, fit_tables, id_rows
from twotower.training.train_towers import TrainedTowers, load_trained_towers, train_towers

LOG = logging.getLogger("twotower")


class TowerSource(ABC):
    """Where the towers of a run come from."""

    trains: bool = True
    """Whether several processes train together; False ends those that a launcher has started."""

    @abstractmethod
    def obtain(self) -> TrainedTowers:
        """Return the towers, together with the other processes."""


class NewTraining(TowerSource):
    """Trains towers from their initialization.

    What may fail or take no towers comes first: features are fitted, sizes checked, baselines validated.
    """

    def __init__(self, job: RunContext, epoch_callback: EpochCallback | None) -> None:
        self.job, self.context = job, train_context(job, epoch_callback)
        self.tables = fit_tables(job.config, job.dataset, job.dataset.train)
        check_weights(job.config, *self.tables, len(job.dataset.events))
        job.validated_baselines = validate_baselines(job, self.tables[1])

    def obtain(self) -> TrainedTowers:
        job = self.job
        return train_towers(job.config, job.dataset, job.evaluator, self.context, self.tables)


class EqualTraining(TowerSource):
    """Loads the towers of a run with an equal training, and their quality if its evaluation is equal."""

    trains = False

    def __init__(self, job: RunContext, reused_run: Path) -> None:
        self.job, self.reused_run = job, reused_run
        job.reused_quality = _read_equal_quality(job, reused_run)

    def obtain(self) -> TrainedTowers:
        job = self.job
        evaluator = None if job.reused_quality else job.evaluator
        towers = load_trained_towers(job.config, job.dataset, self.reused_run, evaluator)
        return replace(towers, parent_fields={"training_reused_from": str(self.reused_run)})


class ContinuedTraining(TowerSource):
    """Continues the training of a parent run, or takes its towers unchanged to rebuild its bundle."""

    def __init__(self, job: RunContext, config: WarmStartRunConfig) -> None:
        self.job, self.how = job, config.warm_start
        self.trains = bool(self.how.epochs)

    def obtain(self) -> TrainedTowers:
        return continue_training(self.job, self.how)


@contextlib.contextmanager
def obtain_towers(job: RunContext, epoch_callback: EpochCallback | None) -> Iterator[TrainedTowers]:
    """Yield the towers of a run; in the block, other processes of its training evaluate with this one."""
    source = _choose_source(job, epoch_callback)
    with training_processes(job, source.trains, epoch_callback is not None):
        towers = source.obtain()
        check_unchanged_data(job)
        if not towers.parent_fields:
            fingerprint = job.run.partial_result.training_fingerprint
            trainings.remember(Path(job.config.output_root), fingerprint, job.run.folder)
        yield towers


def _choose_source(job: RunContext, epoch_callback: EpochCallback | None) -> TowerSource:
    if not job.config.rebuilds_bundle:
        job.console.heading("training")
    if isinstance(job.config, WarmStartRunConfig):  # never reused: its settings name the parent by folder
        return ContinuedTraining(job, job.config)
    reused_run = _find_equal_training(job)
    return NewTraining(job, epoch_callback) if reused_run is None else EqualTraining(job, reused_run)


def tower_sections(job: RunContext, towers: TrainedTowers) -> dict[str, Any]:
    """Return the parts of the result on the towers: origin, training, curves, timing, reports."""
    fitted = towers.result
    training = sections.training_record(job.run.settings, fitted.epochs, towers.refit, towers.temperature)
    training |= {"epoch_steps": fitted.epoch_steps, "chosen": fitted.chosen}
    training |= {"id_rows": id_rows(towers.model)}
    training |= {} if towers.fitted_on is None else {"fitted_on": towers.fitted_on}
    timing = {
        "train_seconds": round(fitted.seconds, 3),
        "examples_per_second": round(fitted.examples / max(fitted.seconds, 1e-9), 1),
    }
    parts = {"training": training, "curves": fitted.curves, "timing": timing}
    return {**towers.parent_fields, **parts, **towers.report_parts}


def _find_equal_training(job: RunContext) -> Path | None:
    """Return the run with an equal training, if there is one and `reuse` is on."""
    if not job.config.reuse:
        return None
    reused_run = trainings.find(Path(job.config.output_root), job.run.partial_result.training_fingerprint)
    if reused_run is None or reused_run.resolve() == job.run.folder.resolve():
        return None
    LOG.info("reusing the towers of %s (reuse=false trains again)", reused_run)
    return reused_run


def _read_equal_quality(job: RunContext, reused_run: Path) -> Quality | None:
    """Return the quality by exact search of the run with these towers, if its evaluation is equal."""
    try:
        before = read_result(reused_run)
    except InputError as error:
        LOG.warning("%s; its metrics are computed again", error)
        return None
    if before is None or not before.finished:
        return None
    if before.evaluation_fingerprint != job.run.partial_result.evaluation_fingerprint:
        return None
    return read_quality(job, reused_run, before)
