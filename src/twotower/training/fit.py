"""One training with Lightning: best checkpoint, early stopping, and a checkpoint to resume from."""

import dataclasses
import logging
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping

from twotower.training.batches import TrainBatches
from twotower.training.callbacks.checkpointing import FINAL, LAST, Checkpointing, delete_progress
from twotower.training.callbacks.curves import Curves
from twotower.training.callbacks.divergence_guard import DivergenceGuard
from twotower.training.callbacks.epoch_lines import EpochLines
from twotower.training.callbacks.epoch_loss import EpochLoss
from twotower.training.callbacks.hard_negative_refresh import HardNegativeRefresh
from twotower.training.checkpoints import CheckedCheckpoints, write_checkpoint
from twotower.training.compiled import compiled
from twotower.training.module import RetrievalModule
from twotower.training.scalars import Scalars
from twotower.training.train_context import TrainContext

LOG = logging.getLogger("twotower")

EXPECTED_WARNINGS = (
    ".*LeafSpec.*",  # Lightning 2.6 asks torch 2.13 a question in words it no longer likes
    ".*no `val_dataloader`.*",  # a refit validates on nothing
    ".*smaller than the logging interval.*",  # a short epoch is no mistake
)


TRAINED_ON = "trained_on"
"""In `final.ckpt` the log of the training: what goes on from it must not be tested on that."""


@dataclass(frozen=True)
class Fitted:
    """How a training went.

    Attributes:
        epochs: trained for when the best (or last) weights were taken.
        seconds: of training, validation included, in this process.
        examples: those seen in this process.
        curves: key -> one value an epoch.
        epoch_steps: of the optimizer in an epoch; 0 if unknown.
        chosen: settings that the log or the validation split decided, by key.
        score: the monitored metric of these weights, more is better; None where nothing was validated.
        initial_score: that of the initial embeddings, where they may be the best.
    """

    epochs: int
    seconds: float
    examples: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    epoch_steps: int = 0
    chosen: dict[str, float | None] = field(default_factory=dict)
    score: float | None = None
    initial_score: float | None = None

    @property
    def improved(self) -> bool:
        """Whether an epoch was better than the initial embeddings; True where these were not validated."""
        if self.score is None or self.initial_score is None:
            return True
        return self.score > float(
            np.float32(self.initial_score)
        )  # Lightning holds scores in single precision


class Clock(pl.Callback):
    """How long a training took and how many examples it saw, in this process.

    Args:
        batches: counts them.
    """

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches
        self.began, self.first = 0.0, 0
        self.seconds, self.examples = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start, once a checkpoint has been loaded."""
        self.began, self.first = time.perf_counter(), self.batches.number

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.began
        self.examples = self.batches.examples_between(self.first, self.batches.number)


class StopAfter(pl.Callback):
    """End training after a number of epochs, while the learning-rate schedule spans more."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop when the epochs are done."""
        if trainer.current_epoch + 1 >= self.epochs:
            trainer.should_stop = True


def fit(
    context: TrainContext,
    module: RetrievalModule,
    batches: TrainBatches,
    name: str,
    callbacks: list[pl.Callback],
    epochs: int | None = None,
) -> Fitted:
    """Train until the monitored metric gets no better, or for a given number of epochs.

    A checkpoint `last.ckpt` in the phase's folder, if there is one, is gone on from. `final.ckpt` says that
    the phase has ended, with which weights and how they came about; the other checkpoints are deleted then.

    Args:
        context: settings, folder and callbacks.
        module: what is trained; validates if it has a validation.
        batches: of the train log.
        name: of the phase: its checkpoints go to `checkpoints/<name>/`.
        callbacks: to add.
        epochs: stop after this many, 0 for none, without validation.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    choice, tracker = context.trainer, context.tracker
    checkpoints = context.folder / "checkpoints" / name
    mode = None if module.validation is None else module.validation.mode(choice.monitor)
    keep = Checkpointing(choice, checkpoints, batches, mode)
    clock, curves = Clock(batches), Curves(choice.monitor, context.epoch_callback)
    draw = context.progress_callback if choice.progress_bar else None
    epoch_loss = EpochLoss()
    arguments, patience = choice.arguments(epochs), choice.patience_epochs(len(batches))
    LOG.info("%s in %s", name, arguments["precision"])
    trainer = pl.Trainer(
        max_epochs=0 if epochs == 0 else choice.max_epochs,
        logger=[
            Scalars(context.folder, _prefix(name), choice.monitor),
            *(tracker.loggers(_prefix(name)) if tracker else ()),
        ],
        callbacks=[
            keep,
            *([EarlyStopping(choice.monitor, mode=mode, patience=patience)] if mode else []),
            epoch_loss,
            EpochLines(choice.monitor, epochs or choice.max_epochs, name, epoch_loss, keep, draw),
            DivergenceGuard(),
            *([HardNegativeRefresh(batches)] if module.negatives.config.refreshed_every() else []),
            *([StopAfter(epochs)] if epochs else []),
            clock,
            curves,
            *callbacks,
        ],
        plugins=[CheckedCheckpoints()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=None if mode else 0,
        use_distributed_sampler=False,
        **arguments,
    )
    last = checkpoints / LAST
    if last.is_file():
        LOG.info("%s goes on from %s", name, last)
    towers = (module.model.user_tower, module.model.item_tower) if choice.compile else ()
    with compiled(*towers):
        _run(trainer, module, batches, last if last.is_file() else None)
    keep.load_best(module)
    steps = trainer.global_step // max(1, trainer.current_epoch)
    how = keep.epochs, clock.seconds, clock.examples, curves.curves(), steps, module.chosen
    fitted = Fitted(*how, keep.score, module.untrained)
    ended = {"state_dict": module.state_dict(), "fitted": dataclasses.asdict(fitted)}
    ended[TRAINED_ON] = {
        name: torch.tensor(np.asarray(getattr(batches.interactions, name)))
        for name in ("offsets", "items", "times")
    }
    write_checkpoint(checkpoints / FINAL, ended)
    delete_progress(checkpoints, choice.keep_optimizer_state)
    return fitted


def _run(trainer: pl.Trainer, module: RetrievalModule, batches: TrainBatches, last: Path | None) -> None:
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        trainer.fit(
            module,
            train_dataloaders=batches,
            val_dataloaders=module.validation,
            ckpt_path=None if last is None else str(last),
            weights_only=True,
        )


def _prefix(name: str) -> str:
    return "" if name == "fit" else name
