"""Fit one phase of a training with Lightning: early stopping, best weights, a checkpoint to resume from."""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, LambdaCallback

from twotower.config.errors import InputError
from twotower.parallel.ranks import is_first, sum_over_ranks, wait_for_all, world_size
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.curves import Curves, EpochCallback
from twotower.training.callbacks.epoch_lines import EpochLines, ProgressCallback
from twotower.training.callbacks.hard_negative_refresh import HardNegativeRefresh
from twotower.training.checkpoints import (
    FIT,
    LAST,
    CheckedCheckpoints,
    FitResult,
    final_path,
    load_final,
    read_final,
    write_final,
)
from twotower.training.module import RetrievalModule
from twotower.training.phase_logger import PhaseLogger
from twotower.training.scalars import Scalars
from twotower.training.selection.initial_share import INITIAL_SHARE, mix_with_initial
from twotower.training.selection.moving_average import MovingAverage
from twotower.training.strategy import process_arguments, process_callbacks
from twotower.training.tracker import Tracker
from twotower.training.trainer import TrainerChoice

LOG = logging.getLogger("twotower")
EXPECTED_WARNINGS = (
    ".*LeafSpec.*",  # Lightning 2.6 calls a function that torch 2.13 deprecates
    ".*no `val_dataloader`.*",  # a refit has no validation
    ".*smaller than the logging interval.*",  # short epochs are allowed
    ".*sync_dist=True.*",  # all processes log the same values
    ".*broadcast_buffers.*",  # its successor came with torch 2.13
)


@dataclass(frozen=True)
class TrainContext:
    """What all phases of a training share.

    Attributes:
        trainer: settings of the Lightning Trainer, early stopping and checkpoints.
        folder: of the run.
        rehearse_index: builds and searches an index on random vectors, before training; None: no rehearsal.
        epoch_callback: receives the monitored metric after each epoch and may stop the training.
        progress_callback: displays the progress of an epoch.
        tracker: receives the metrics that TensorBoard receives.
        chosen: settings that the validation split determined before the first phase, by key.
    """

    trainer: TrainerChoice.Config
    folder: Path
    rehearse_index: Callable[[], object] | None = None
    epoch_callback: EpochCallback | None = None
    progress_callback: ProgressCallback | None = None
    tracker: Tracker | None = None
    chosen: Mapping[str, float | None] = field(default_factory=dict)


def rehearse_training(
    rehearse_index: Callable[[], object],
    batches: TrainBatches,
    trainer: pl.Trainer,
    module: RetrievalModule,
) -> None:
    """Build the index on random vectors and compute one loss with its gradient, before training.

    So settings that fail after training fail in the first second instead.

    Args:
        rehearse_index: builds and searches an index on random vectors.
        batches: the training batches; the first one is used.

    Raises:
        InputError: the index cannot be built, or the first loss is not finite.
    """
    rehearse_index()
    batch = next(batches.epoch_batches(0, 0)).to(module.device)
    module.on_train_batch_start(batch, 0)  # the draws of the first step
    with trainer.precision_plugin.forward_context():
        loss = module.batch_loss(batch)
    module.gradients(loss)
    first_loss = float(sum_over_ranks(loss.detach())) / world_size()
    if not math.isfinite(first_loss):
        raise InputError(
            f"loss: the first loss is {first_loss}; raise loss.temperature or trainer.precision=32-true"
        )
    LOG.debug("rehearsal: index built on random vectors, first loss %.4f", first_loss)


def fit(context: TrainContext, module: RetrievalModule, batches: TrainBatches, name: str) -> FitResult:
    """Train until the monitored metric stops improving, or without validation for `max_epochs`.

    Loads the final weights of a phase that ended in an earlier process. Otherwise resumes from `last.ckpt` if
    it exists, writes `final.ckpt` at the end and deletes the other checkpoints.

    Args:
        module: the module to train; validates if it has a validation.
        name: of the phase; its checkpoints go to `checkpoints/<name>/`.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    if module.is_informed and context.trainer.initial_share == 1:
        context = replace(context, trainer=context.trainer.model_copy(update={"max_epochs": 0}))
    settings, final = context.trainer, final_path(context.folder, name)
    if final.is_file():
        LOG.info("%s ended in an earlier process; its weights are loaded", name)
        checkpoint, result = read_final(context.folder, name)
        load_final(module, checkpoint)
        return result
    module.set_chosen(context.chosen)
    mode = None if module.validation is None else module.validation.mode(settings.monitor)
    curves = Curves(settings.monitor, context.epoch_callback)
    keeps_initial = module.is_informed and settings.initial_share not in (0, 1)
    checkpointing = Checkpointing(settings, final.parent, batches, mode, keeps_initial)
    progress = context.progress_callback if settings.progress_bar else None
    average = None if settings.ema_decay is None else MovingAverage(settings.ema_decay)
    callbacks = [
        *([average] if average else []),  # before those that read the trained weights
        checkpointing,
        EpochLines(name, curves, checkpointing, progress),
        curves,
        HardNegativeRefresh(batches),
        *process_callbacks(),
    ]
    stopping = None
    if mode is not None:
        patience = settings.patience_epochs(len(batches))
        stopping = EarlyStopping(settings.monitor, mode=mode, patience=patience)
        callbacks.append(stopping)
    if context.rehearse_index is not None:
        rehearsal = partial(rehearse_training, context.rehearse_index, batches)
        callbacks.append(LambdaCallback(on_fit_start=rehearsal))
    LOG.debug("%s in %s", name, settings.arguments()["precision"])
    with quiet_lightning():
        trainer = phase_trainer(context, name, callbacks, module, batches)
    last = final.with_name(LAST) if final.with_name(LAST).is_file() else None
    if last is not None:
        LOG.info("%s resumes from %s", name, last)
    elif module.initial_score is not None:
        LOG.info("initial embeddings: %s %.4f", settings.monitor, abs(module.initial_score))
    once = [range(1)] if mode else None  # a validation is one step
    with quiet_lightning():
        trainer.fit(module, batches, once, ckpt_path=last, weights_only=True)
    if stopping is not None and stopping.stopped_epoch:
        kept = checkpointing.epochs
        LOG.info("no improvement (patience %d): training stops, epoch %d kept", stopping.patience, kept)
    if average is not None:
        average.copy_to(module)
    checkpointing.load_best(module)
    share, score = mix_with_initial(module, checkpointing, settings)
    epochs = 0 if share == 1 else checkpointing.epochs
    if settings.initial_share is None and mode is not None and module.is_informed:
        module.chosen[INITIAL_SHARE] = share
    module.model.fit_new_items(module.temperature)
    module.select_boost(settings.monitor)
    result = FitResult(
        epochs=epochs,
        seconds=curves.seconds,
        examples=curves.num_examples,
        curves=curves.curves(),
        epoch_steps=trainer.global_step // max(1, trainer.current_epoch),
        chosen={**context.chosen, **module.chosen},
        score=score,
    )
    weights = module.state_dict()  # all processes have a part of it
    wait_for_all()  # others may still read the checkpoints that are deleted
    if is_first():
        write_final(final, weights, batches.interactions, result)
    return result


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Ignore notices of Lightning, such as that no GPU is available, and the warnings of each training."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)


def phase_trainer(
    context: TrainContext,
    name: str,
    callbacks: list[pl.Callback],
    module: RetrievalModule,
    batches: TrainBatches,
) -> pl.Trainer:
    """Return the Lightning Trainer of a phase."""
    settings, tracker, prefix = context.trainer, context.tracker, "" if name == FIT else f"{name}-"
    return pl.Trainer(
        logger=[
            Scalars(context.folder, prefix, settings.monitor),
            *([PhaseLogger(tracker, prefix)] if tracker is not None and tracker.is_open else []),
        ],
        callbacks=callbacks,
        plugins=[CheckedCheckpoints()],
        num_sanity_val_steps=0,
        limit_val_batches=0 if module.validation is None else None,
        **process_arguments(settings.devices, module, batches),
        **settings.arguments(),
    )
