"""The main job: from settings to trained towers, a checked index, a result and a bundle."""

import logging
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.exits import DONE, stoppable
from twotower.pipeline.parent_towers import (
    continue_training,
    describe_training_data,
    train_context,
)
from twotower.pipeline.quality import (
    Quality,
    evaluate_baselines,
    evaluate_on_test,
    measure_cold_start,
    read_quality,
    through_index,
)
from twotower.pipeline.run_config import RunConfig, WarmStartRunConfig, checked_run
from twotower.pipeline.stages import (
    RunContext,
    finish,
    index_model,
    open_run,
    refuse_changed_files,
    report_result,
    save_bundle,
)
from twotower.runs import sections, trainings
from twotower.runs.result import read_result
from twotower.runs.run import RESUME_HINT, Run, run_folder
from twotower.training.callbacks.checkpointing import delete_progress
from twotower.training.callbacks.curves import EpochCallback, TrialPruned
from twotower.training.fit import FIT
from twotower.training.train_towers import TrainedTowers, load_trained_towers, train_towers

LOG = logging.getLogger("twotower")


def train(
    config: RunConfig,
    folder: Path,
    epoch_callback: EpochCallback | None = None,
    keep_after_input_error: bool = True,
) -> int:
    """Run the main job into a new run folder; returns the exit status.

    Args:
        config: settings of the run.
        folder: folder of the run; it does not exist yet.
        epoch_callback: receives the monitored metric after each epoch, and may stop the run.
        keep_after_input_error: see `Run.create`.
    """
    with stoppable(lambda: RESUME_HINT.format(shlex.quote(str(folder)))):
        run = Run.create(folder, config.settings, config.overrides, keep_after_input_error)
        return _train(run, config, epoch_callback)


def train_in_new_folder(config: RunConfig) -> tuple[Path, int]:
    """Run the main job into a folder named by overrides and time; returns the folder and the exit status."""
    folder = run_folder(Path(config.output_root) / config.name, config.overrides)
    return folder, train(config, folder, keep_after_input_error=False)


def resume(
    folder: Path,
    epoch_callback: EpochCallback | None = None,
    trusted: Collection[str] = (),
    console: str | None = None,
) -> int:
    """Continue an interrupted run, to bit-identical results; returns the exit status.

    Args:
        folder: folder of the run.
        epoch_callback: see `train`.
        trusted: packages whose classes the settings of the run may name.
        console: replaces the console of the run.

    Raises:
        InputError: the folder holds no run, or the run has ended.
    """
    with stoppable(lambda: RESUME_HINT.format(shlex.quote(str(folder)))):
        run = Run.open(folder, trusted)
        run.refuse_if_ended()
        run.settings |= {} if console is None else {"console": console}
        config = checked_run(run.settings, run.overrides, f"{folder}/config.yaml")
        return _train(run, config, epoch_callback)


def _train(run: Run, config: RunConfig, epoch_callback: EpochCallback | None) -> int:
    how = config.warm_start if isinstance(config, WarmStartRunConfig) else None
    with open_run(run, config) as job:
        source = trained_by(job)
        ancestry: dict[str, Any] = {}
        try:
            if how is None:
                trained = _trained(job, source, epoch_callback)
            else:
                trained, ancestry = continue_training(job, how)
        except TrialPruned as pruned:
            record = {
                "training": sections.training_record(run.settings, pruned.epochs, False),
                "curves": dict(pruned.curves),
            }
            report_result(job, sections.ended_result(run.partial_result, "pruned", run.seconds(), **record))
            delete_progress(run.folder / "checkpoints" / FIT)
            return DONE
        refuse_changed_files(job)
        if how is None and source is None:
            trainings.remember(
                Path(job.config.output_root), run.partial_result.training_fingerprint, run.folder
            )
        indexed = index_model(job, trained.model)
        training = sections.training_record(run.settings, trained.epochs, trained.refit, trained.temperature)
        if how is not None:
            training["fitted_on"] = describe_training_data(how, trained.refit)
        result: dict[str, Any] = {
            **ancestry,
            "training": training
            | {"epoch_steps": trained.epoch_steps, "chosen": trained.chosen, **trained.initialization},
            "curves": trained.curves,
            "timing": {
                "train_seconds": round(trained.seconds, 3),
                "examples_per_second": round(trained.examples / max(trained.seconds, 1e-9), 1),
            },
        }
        if source is not None:
            result["training_reused_from"] = str(source)
        known = known_quality(job, source)
        exact = known or evaluate_on_test(
            job, trained.model, trained.valid(job.evaluator), trained.temperature
        )
        result |= through_index(job, trained.model, indexed.index, exact)
        result |= measure_cold_start(job, trained.model)
        save_bundle(job, trained.model, indexed)
        if known is None:
            result |= evaluate_baselines(job, trained.model)  # may take long: the bundle is written already
        return finish(job, indexed, result)


def _trained(job: RunContext, source: Path | None, epoch_callback: EpochCallback | None) -> TrainedTowers:
    """Train towers, or load those of the run that trained them."""
    if source is not None:
        return load_trained_towers(job.config, job.dataset, source)
    return train_towers(job.config, job.dataset, job.evaluator, train_context(job, epoch_callback))


def trained_by(job: RunContext) -> Path | None:
    """Return the run with an equal training, if there is one and `reuse` is on.

    A warm start is trained again, because its settings name the parent run only by its folder.
    """
    if not job.config.reuse or isinstance(job.config, WarmStartRunConfig):
        return None
    source = trainings.find(Path(job.config.output_root), job.run.partial_result.training_fingerprint)
    if source is None or source.resolve() == job.run.folder.resolve():
        return None
    LOG.info("reusing the towers of %s (reuse=false trains again)", source)
    return source


def known_quality(job: RunContext, source: Path | None) -> Quality | None:
    """Return the quality by exact search of the run with these towers, if its evaluation is equal."""
    if source is None:
        return None
    try:
        before = read_result(source)
    except InputError as error:
        LOG.warning("%s; its metrics are computed again", error)
        return None
    if before is None or not before.finished:
        return None
    if before.evaluation_fingerprint != job.run.partial_result.evaluation_fingerprint:
        return None
    return read_quality(job, source, before)
