"""The checkpoints of a phase."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from twotower.parallel.ranks import broadcast_json, is_first, wait_for_all
from twotower.training.batches import TrainBatches
from twotower.training.checkpoints import BEST, INITIAL, LAST, read_checkpoint, write_checkpoint
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice
from twotower.training.validation import Mode

LOG = logging.getLogger("twotower")
SHORT, SHARE = 1.0, 0.05
"""Checkpoints that take longer than `SHORT` seconds take at most this share of the training time."""
STATE = ("score", "epochs", "stop", "saved_step")
"""Attributes that are part of `last.ckpt`."""


class Checkpointing(Checkpoint):
    """Writes the initial weights to `initial.ckpt`, the best to `best.ckpt`, and a state to resume from.

    That state, `last.ckpt`, is written every `checkpoint_every_steps` steps: within an epoch, or at its end
    after all other callbacks (Lightning calls checkpoint callbacks last). It contains the best value, whether
    training stops, and the position of the batches, which Lightning resets at the end of an epoch.

    Args:
        settings: the monitored metric, and the steps between two checkpoints.
        keeps_initial: whether the initial weights are needed at the end.
        mode: whether higher or lower values of the metric are better; None without validation.

    Attributes:
        score: the best value, negated if lower is better; None without validation.
        epochs: number of epochs of the best weights, or of the last ones without validation.
    """

    def __init__(
        self,
        settings: TrainerChoice.Config,
        folder: Path,
        batches: TrainBatches,
        mode: Mode | None,
        keeps_initial: bool,
    ) -> None:
        self.monitor = settings.monitor
        self.keeps_initial = keeps_initial
        self.every_steps = settings.checkpoint_every_steps
        self.folder = folder
        self.batches = batches
        self.sign = -1 if mode == "min" else 1
        self.score: float | None = None
        self.epochs = 0
        self.stop = False
        self.saved_step = 0
        self.next_save_at = 0.0

    @property
    def best(self) -> float | None:
        """The best value of the metric; None without validation."""
        return None if self.score is None else self.sign * self.score

    def kept_text(self, value: float | None) -> str:
        """Return which weights are kept after an epoch with some value of the metric, in short words."""
        if self.best is None:
            return ""
        return "kept" if value == self.best else f"kept {self.best:.4f}"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if the checkpoint is from an ended training; write `initial.ckpt` if it is needed."""
        trainer.should_stop |= self.stop
        if self.keeps_initial and not trainer.global_step:
            self._save_weights(INITIAL, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write `last.ckpt` if it is due; see `Checkpointing`."""
        due = self._is_due(trainer)
        ends = batch_idx + 1 == trainer.num_training_batches or trainer.should_stop
        if due and not ends:
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `best.ckpt` if the monitored metric has improved."""
        score = self.sign * float(trainer.callback_metrics[self.monitor])
        score = -math.inf if math.isnan(score) else score
        if self.score is None or score > self.score:
            self.score, self.epochs = score, trainer.current_epoch + 1
            self._save_weights(BEST, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write `last.ckpt` if it is due, and after the first and the last epoch."""
        if self.score is None:
            self.epochs = trainer.current_epoch + 1
        self.stop = trainer.should_stop
        is_first, is_last = not self.saved_step, trainer.current_epoch + 1 == trainer.max_epochs
        if is_first or is_last or self.stop or self._is_due(trainer):
            self._save_last(trainer)
        else:
            for logger in trainer.loggers:
                logger.save()  # so that the curves are up to date

    def load_best(self, module: RetrievalModule) -> None:
        """Load the best weights into the module; without validation the last ones stay."""
        if self.best is not None:
            module.load_state_dict(read_checkpoint(self.folder / BEST, module.device)["state_dict"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {name: getattr(self, name) for name in STATE} | {"batches": self.batches.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        for name in STATE:
            setattr(self, name, state_dict[name])
        self.batches.load_state_dict(state_dict["batches"])

    def _save_weights(self, name: str, module: pl.LightningModule) -> None:
        weights = module.state_dict()  # all processes have a part of it
        if is_first():
            write_checkpoint(self.folder / name, {"state_dict": weights})
        wait_for_all()  # others may read it

    def _is_due(self, trainer: pl.Trainer) -> bool:
        is_old = trainer.global_step - self.saved_step >= self.every_steps
        return is_old and bool(broadcast_json(time.monotonic() >= self.next_save_at))

    def _save_last(self, trainer: pl.Trainer) -> None:
        began = time.monotonic()
        for logger in trainer.loggers:
            logger.save()  # a resumed training does not repeat values before the checkpoint
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        ended = time.monotonic()
        took = ended - began
        self.next_save_at = ended + took / SHARE if took > SHORT else 0.0
