"""The towers of a run that goes on from another, and the record of its ancestry."""

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
from twotower.training.parent import Parent, new_interactions, read_parent, refuse_leak
from twotower.training.phases import Trained
from twotower.training.train_context import TrainContext
from twotower.training.warm_start import growth_of, refreshed, warm_start


def read_warm_start(settings: Mapping[str, Any]) -> WarmStart | None:
    """Return how a run goes on from another, None where it does not."""
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


def continue_training(job: RunContext, how: WarmStart) -> tuple[Trained, dict[str, Any]]:
    """Train a parent's towers further, or take them as they are where no epochs are asked for.

    Returns:
        The towers, and what the result says of where they come from.
    """
    folder = Path(how.run)
    named, config, dataset = _result(folder), job.config, job.dataset
    parent = read_parent(find_trainer(folder), [*targets(job.run.settings)])
    if how.epochs:
        context = train_context(job)
        trained, growth = warm_start(config, dataset, job.evaluator, parent, how, context)
    else:
        trained = _as_they_are(job, parent, named)
        known = dataset.test.history
        growth = growth_of(parent, dataset, int(new_interactions(parent, dataset, known).sum()))
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


def describe_training_data(how: WarmStart, refit: bool) -> str:
    """Say what the last phase of a run's training saw."""
    if not how.epochs:
        return f"as {how.run}"
    return f"what is new of train{' + valid' if refit else ''} since {how.run}, and {how.replay:g} of the old"


def find_trainer(folder: Path) -> Path:
    """Return the run that trained the towers of a run: itself, or the one whose towers it took.

    Raises:
        InputError: a run on the way is not there.
    """
    result = _result(folder)
    source = result.training_reused_from or result.bundle_rebuilt_from
    return folder if source is None else find_trainer(Path(source))


def _result(folder: Path) -> Result:
    result = read_result(folder)
    if result is None:
        raise InputError(f"{folder}: the run whose towers are gone on from is not there, or has not ended")
    return result


def _as_they_are(job: RunContext, parent: Parent, named: Result) -> Trained:
    refuse_leak(parent, job.dataset, job.dataset.test, "test")
    model = refreshed(job.config, job.dataset, parent)
    training = named.training
    temperature = training.temperature or 1.0
    return Trained(model, lambda _: None, training.epochs or 0, training.refit, 0.0, 0, temperature, {}, 0)
