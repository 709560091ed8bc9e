"""The towers of a warm start or a rebuilt bundle, and the ancestry record of the run."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twotower.config.errors import InputError
from twotower.config.run_keys import WARM_START, WarmStart
from twotower.config.trust import targets
from twotower.index.rehearse import rehearse
from twotower.pipeline.stages import RunContext, index_model
from twotower.runs.result import Result, read_result
from twotower.runs.result_parts import Ancestry
from twotower.training.callbacks.curves import EpochCallback
from twotower.training.parent import Parent, check_leakage, is_new_interaction, read_parent
from twotower.training.train_context import TrainContext
from twotower.training.train_towers import TrainedTowers
from twotower.training.warm_start import count_growth, extend_towers, warm_start


def warm_start_of(settings: Mapping[str, Any]) -> WarmStart | None:
    """Return the settings of a warm start; None without one."""
    return WarmStart.model_validate(settings[WARM_START]) if WARM_START in settings else None


def train_context(job: RunContext, epoch_callback: EpochCallback | None = None) -> TrainContext:
    """Return the folder and the callbacks of a run's training."""
    config = job.config
    return TrainContext(
        config.trainer,
        job.run.folder,
        partial(rehearse, config.index, config.embedding_dim, len(job.dataset.items)),
        partial(index_model, job),
        epoch_callback,
        job.console.draw,
        job.tracker,
    )


def train_further(job: RunContext, how: WarmStart) -> tuple[TrainedTowers, dict[str, Any]]:
    """Train the towers of a parent run further, or extend them without training for 0 epochs.

    Returns:
        The towers, and the `ancestry` section of the result.
    """
    folder = Path(how.run)
    named, config, dataset = _result(folder), job.config, job.dataset
    parent = read_parent(trainer_of(folder), [*targets(job.run.settings)])
    if how.epochs:
        context = train_context(job)
        trained, growth = warm_start(config, dataset, job.evaluator, parent, how, context)
    else:
        trained = _extend_without_training(job, parent, named)
        known = dataset.test.history
        growth = count_growth(parent, dataset, int(is_new_interaction(parent, dataset, known).sum()))
    ancestry = Ancestry(
        how="warm_start" if how.epochs else "rebuild_bundle",
        parent=how.run,
        parent_fingerprint=named.fingerprint,
        generation=(named.ancestry.generation if named.ancestry else 1) + bool(how.epochs),
        **dataclasses.asdict(growth),
        epochs=how.epochs or None,
        replay=how.replay if how.epochs else None,
    )
    found: dict[str, Any] = {"ancestry": ancestry.model_dump(exclude_none=True)}
    return trained, found if how.epochs else found | {"bundle_rebuilt_from": how.run}


def fitted_on(how: WarmStart, refit: bool) -> str:
    """Describe the training data of the last phase."""
    if not how.epochs:
        return f"as {how.run}"
    window = "train + valid" if refit else "train"
    return f"new interactions of {window} since {how.run}, and {how.replay:g} of the old"


def trainer_of(folder: Path) -> Path:
    """Return the run that trained the towers of a run: the run itself, or the source of its towers.

    Raises:
        InputError: a source run is missing.
    """
    result = _result(folder)
    source = result.training_reused_from or result.bundle_rebuilt_from
    return folder if source is None else trainer_of(Path(source))


def _result(folder: Path) -> Result:
    result = read_result(folder)
    if result is None:
        raise InputError(f"{folder}: the parent run is missing, or has not ended")
    return result


def _extend_without_training(job: RunContext, parent: Parent, named: Result) -> TrainedTowers:
    check_leakage(parent, job.dataset, job.dataset.test, "test")
    model = extend_towers(job.config, job.dataset, parent)
    training = named.training
    return TrainedTowers(
        model=model,
        valid=lambda _: None,
        epochs=training.epochs or 0,
        refit=training.refit,
        seconds=0.0,
        examples=0,
        temperature=training.temperature or 1.0,
        curves={},
        epoch_steps=0,
    )
