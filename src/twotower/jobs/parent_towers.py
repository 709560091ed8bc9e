"""The towers of a warm start or a rebuilt bundle, and the record of its ancestry."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from twotower.config.run_keys import WarmStart
from twotower.config.trust import targets
from twotower.experiments.runs.result import open_result
from twotower.experiments.runs.result_parts import Ancestry
from twotower.experiments.runs.tower_origin import find_trainer, named_run
from twotower.index.rehearsal import rehearse
from twotower.jobs.run_context import RunContext
from twotower.training.callbacks.curves import EpochCallback, synchronized
from twotower.training.checkpoints import FitResult
from twotower.training.fit import TrainContext
from twotower.training.train_towers import TrainedTowers
from twotower.training.warm_start import (
    check_leakage,
    count_growth,
    extend_towers,
    is_new_interaction,
    read_parent,
    warm_start,
)


def train_context(job: RunContext, epoch_callback: EpochCallback | None = None) -> TrainContext:
    """Return the folder and the callbacks of a run's training."""
    config = job.config
    return TrainContext(
        config.trainer,
        job.run.folder,
        cache(partial(rehearse, config.index, config.embedding_dim, len(job.dataset.items))),
        None if epoch_callback is None else synchronized(epoch_callback),
        job.console.draw,
        job.tracker,
    )


def continue_training(job: RunContext, how: WarmStart) -> TrainedTowers:
    """Train the towers of a parent run further, or take them unchanged if `epochs` is 0."""
    folder = Path(how.run)
    parent_result, config, dataset = open_result(folder), job.config, job.dataset
    parent = read_parent(find_trainer(folder), [*targets(job.run.settings)])
    if how.epochs:
        trained, growth = warm_start(config, dataset, job.evaluator, parent, how, train_context(job))
        fitted_on = (
            f"interactions of train{' + valid' if trained.refit else ''} that are new since {how.run}, and a "
            f"share of {how.replay:g} of the old ones"
        )
    else:
        check_leakage(parent, dataset, dataset.test, "test")
        fitted_on = f"the data of {how.run}"
        trained = TrainedTowers(
            model=extend_towers(config, dataset, parent),
            temperature=parent_result.training.temperature or 1.0,
            result=FitResult(epochs=parent_result.training.epochs or 0),
            refit=parent_result.training.refit,
        )
        is_new = is_new_interaction(parent, dataset, dataset.test.history)
        growth = count_growth(parent, dataset, int(is_new.sum()))
    ancestry = Ancestry(
        how="warm_start" if how.epochs else "rebuild_bundle",
        parent=how.run,
        parent_fingerprint=parent_result.fingerprint,
        generation=parent_result.generation + bool(how.epochs),
        **growth,
        epochs=how.epochs or None,
        replay=how.replay if how.epochs else None,
    )
    parent_fields: dict[str, Any] = {"ancestry": ancestry.model_dump(exclude_none=True)}
    parent_fields |= {} if how.epochs else {"bundle_rebuilt_from": how.run}
    return replace(trained, parent_fields=parent_fields, fitted_on=fitted_on)


def check_test_window(job: RunContext, folder: Path) -> None:
    """Refuse to reveal a test split with targets on which the parent of a run's towers was trained."""
    result = open_result(folder)
    if result.ancestry is not None:
        trainer = find_trainer(named_run(folder, result.ancestry.parent))
        parent = read_parent(trainer, [*targets(job.run.settings)])
        check_leakage(parent, job.dataset, job.dataset.test, "test")
    elif result.training_reused_from is not None:
        check_test_window(job, named_run(folder, result.training_reused_from))
