"""Fit one phase of a training with Lightning: early stopping, best weights, a checkpoint to resume from."""

import dataclasses
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping

from twotower.data.interactions import Interactions
from twotower.training.batches import TrainBatches
from twotower.training.callbacks.checkpointing import FINAL, LAST, Checkpointing, delete_progress
from twotower.training.callbacks.curves import Curves, EpochCallback
from twotower.training.callbacks.epoch_lines import EpochLines, ProgressCallback
from twotower.training.callbacks.epoch_loss import EpochLoss
from twotower.training.callbacks.hard_negative_refresh import HardNegativeRefresh
from twotower.training.callbacks.rehearsal import Rehearsal
from twotower.training.checkpoints import CheckedCheckpoints, read_checkpoint, unusable, write_checkpoint
from twotower.training.module import RetrievalModule
from twotower.training.scalars import Scalars
from twotower.training.trackers.tracker import Tracker
from twotower.training.trainer import TrainerChoice

LOG = logging.getLogger("twotower")
FIT, FIT_RANDOM, REFIT = "fit", "fit_random", "refit"
"""Phases: the first; the first from `initialization=random`, for comparison; the second on train + valid."""
TRAINED_ON = "trained_on"
"""Key of `final.ckpt` for the training interactions, which a warm start must not be tested on."""
NEW_ITEMS = "model.new_items."
"""Prefix of weights that `fit_new_items` computes from the trained ones."""
EXPECTED_WARNINGS = (
    ".*LeafSpec.*",  # Lightning 2.6 calls a function that torch 2.13 deprecates
    ".*no `val_dataloader`.*",  # a refit has no validation
    ".*smaller than the logging interval.*",  # short epochs are allowed
)


@dataclass(frozen=True)
class TrainContext:
    """What all phases of a training share.

    Attributes:
        trainer: settings of the Lightning Trainer, early stopping and checkpoints.
        folder: of the run.
        rehearse_index: builds and searches an index on random vectors; called before training.
        epoch_callback: receives the monitored metric after each epoch and may stop the training.
        progress_callback: displays the progress of an epoch.
        tracker: receives the metrics that TensorBoard receives.
    """

    trainer: TrainerChoice.Config
    folder: Path
    rehearse_index: Callable[[], object]
    epoch_callback: EpochCallback | None = None
    progress_callback: ProgressCallback | None = None
    tracker: Tracker | None = None


@dataclass(frozen=True)
class FitResult:
    """The result of one phase.

    Attributes:
        epochs: number of epochs of the best (or last) weights.
        seconds: training time, validation included, in this process.
        examples: number of training examples in this process.
        curves: key -> one value per epoch.
        epoch_steps: optimizer steps per epoch; 0 if unknown.
        chosen: settings that the interactions or the validation split determined, by key.
        score: the monitored metric of the weights, negated if lower is better; None without validation.
        improved: whether an epoch improved on the initial embeddings; True if these were not validated.
    """

    epochs: int
    seconds: float
    examples: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    epoch_steps: int = 0
    chosen: dict[str, float | None] = field(default_factory=dict)
    score: float | None = None
    improved: bool = True


class Clock(pl.Callback):
    """Measures the time and the number of examples of a training in this process."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0
        self.examples = 0

    def on_train_start(self, *_: Any) -> None:
        """Start, after a checkpoint has been loaded."""
        self.began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, _: int
    ) -> None:
        """Count the examples of a batch."""
        self.examples += len(batch.users.rows)

    def on_train_end(self, *_: Any) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.began


def fit(
    context: TrainContext,
    module: RetrievalModule,
    batches: TrainBatches,
    name: str,
    epochs: int | None = None,
    rehearses: bool = False,
) -> FitResult:
    """Train until the monitored metric stops improving, or for a given number of epochs.

    Loads the final weights of a phase that ended in an earlier process. Otherwise resumes from `last.ckpt` if
    it exists, writes `final.ckpt` at the end and deletes the other checkpoints.

    Args:
        module: the module to train; validates if it has a validation.
        name: of the phase; its checkpoints go to `checkpoints/<name>/`.
        epochs: number of epochs, without validation; None trains until early stopping.
        rehearses: test index and loss first; see `Rehearsal`.

    Raises:
        TrialPruned: the epoch callback stopped the training.
    """
    if final_path(context.folder, name).is_file():
        LOG.info("%s ended in an earlier process; its weights are loaded", name)
        return load_phase(module, context.folder, name)
    settings, tracker = context.trainer, context.tracker
    checkpoints = final_path(context.folder, name).parent
    mode = None if module.validation is None else module.validation.mode(settings.monitor)
    checkpointing = Checkpointing(settings, checkpoints, batches, mode)
    clock, curves, epoch_loss = Clock(), Curves(settings.monitor, context.epoch_callback), EpochLoss()
    progress = context.progress_callback if settings.progress_bar else None
    num_epochs = settings.max_epochs if epochs is None else epochs
    patience = settings.patience_epochs(len(batches))
    arguments, prefix = settings.arguments(), "" if name == FIT else name
    LOG.info("%s in %s", name, arguments["precision"])
    trainer = pl.Trainer(
        max_epochs=num_epochs,
        logger=[
            Scalars(context.folder, prefix, settings.monitor),
            *(tracker.loggers(prefix) if tracker else ()),
        ],
        callbacks=[
            checkpointing,
            *([EarlyStopping(settings.monitor, mode=mode, patience=patience)] if mode else []),
            epoch_loss,
            EpochLines(settings.monitor, num_epochs, name, epoch_loss, checkpointing, progress),
            *([HardNegativeRefresh(batches)] if module.negatives.config.refreshed_every() else []),
            clock,
            curves,
            *([Rehearsal(context.rehearse_index, batches)] if rehearses else []),
        ],
        plugins=[CheckedCheckpoints()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=None if mode else 0,
        use_distributed_sampler=False,
        **arguments,
    )
    last = str(checkpoints / LAST) if (checkpoints / LAST).is_file() else None
    if last:
        LOG.info("%s resumes from %s", name, last)
    _fit_without_expected_warnings(trainer, module, batches, last)
    checkpointing.load_best(module)
    score, initial = checkpointing.score, module.initial_score
    result = FitResult(
        epochs=checkpointing.epochs,
        seconds=clock.seconds,
        examples=clock.examples,
        curves=curves.curves(),
        epoch_steps=trainer.global_step // max(1, trainer.current_epoch),
        chosen=module.chosen,
        score=score,
        # Lightning stores metrics as float32.
        improved=score is None or initial is None or score > float(np.float32(initial)),
    )
    write_final(context.folder, name, module, batches.interactions, result)
    delete_progress(checkpoints)
    return result


def _fit_without_expected_warnings(
    trainer: pl.Trainer, module: RetrievalModule, batches: TrainBatches, checkpoint: str | None
) -> None:
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        once = None if module.validation is None else [range(1)]  # a validation is one step
        trainer.fit(module, batches, once, ckpt_path=checkpoint, weights_only=True)


def final_path(folder: Path, phase: str) -> Path:
    """Return the path of the file that a phase writes when it ends."""
    return folder / "checkpoints" / phase / FINAL


def write_final(
    folder: Path, phase: str, module: RetrievalModule, interactions: Interactions, result: FitResult
) -> None:
    """Write the weights, the result and the training interactions of a phase that has ended."""
    trained_on = {
        column: torch.tensor(np.asarray(getattr(interactions, column)))
        for column in ("offsets", "items", "times")
    }
    final = {"state_dict": module.state_dict(), "fitted": dataclasses.asdict(result), TRAINED_ON: trained_on}
    write_checkpoint(final_path(folder, phase), final)


def read_final(folder: Path, phase: str) -> tuple[dict[str, Any], FitResult]:
    """Read the final checkpoint of a phase and its result.

    Raises:
        InputError: the checkpoint is missing, damaged or of another kind.
    """
    path = final_path(folder, phase)
    checkpoint = read_checkpoint(path)
    try:
        return checkpoint, FitResult(**checkpoint["fitted"])
    except (KeyError, TypeError) as error:
        raise unusable(path, "not the final checkpoint of a phase") from error


def load_phase(module: RetrievalModule, folder: Path, name: str) -> FitResult:
    """Load the final weights of a phase into a module and return the result of the phase."""
    checkpoint, result = read_final(folder, name)
    trained = {key: values for key, values in checkpoint["state_dict"].items() if NEW_ITEMS not in key}
    others = {key: values for key, values in module.state_dict().items() if NEW_ITEMS in key}
    module.load_state_dict(trained | others)
    module.model.fit_new_items()
    return result
