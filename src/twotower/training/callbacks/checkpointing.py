"""The checkpoints of a phase."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from twotower.towers.new_items.fit_new_items import fit_new_items
from twotower.training.batches import TrainBatches
from twotower.training.checkpoints import read_checkpoint, write_checkpoint
from twotower.training.module import RetrievalModule
from twotower.training.trainer import TrainerChoice
from twotower.training.validation import Mode

LOG = logging.getLogger("twotower")
LAST, BEST, FINAL = "last.ckpt", "best.ckpt", "final.ckpt"
SHORT, SHARE = 1.0, 0.05
"""A checkpoint that takes longer, in seconds, waits until it is at most this share of the time since the
last: one of 5 million items by 64 has 4 GB, and would take longer than the steps between two."""
UNTRAINED = "no epoch was as good on the validation split as the initial embeddings, with %s %.4f"


def delete_progress(folder: Path, keep_optimizer_state: bool = False) -> None:
    """Delete the checkpoints that only serve to resume a phase.

    Args:
        folder: of the phase, which has ended.
        keep_optimizer_state: keep `last.ckpt`, from which `warm_start=` reads the state of the optimizer.
    """
    (folder / BEST).unlink(missing_ok=True)
    if not keep_optimizer_state:
        (folder / LAST).unlink(missing_ok=True)


class Checkpointing(Checkpoint):
    """Keeps the best weights in `best.ckpt`, and in `last.ckpt` all that a resumed training goes on from.

    `last.ckpt` is written once it is so many steps old, and where nothing is under way: after a step that no
    validation follows, or at the end of an epoch after its validation and every other callback, since
    Lightning calls those for checkpoints last. It holds the best value so far, whether the training is to
    stop, and where the batches are, which Lightning itself forgets at the end of an epoch.

    Args:
        choice: what is monitored, and how often to write.
        folder: where the checkpoints go.
        batches: of the training.
        mode: whether the monitored metric is the better the larger or the smaller; None where nothing is
            validated.
    """

    def __init__(
        self, choice: TrainerChoice.Config, folder: Path, batches: TrainBatches, mode: Mode | None
    ) -> None:
        self.monitor = choice.monitor
        self.every_steps = choice.checkpoint_every_steps
        self.folder = folder
        self.batches = batches
        self.sign = 1 if mode == "min" else -1
        self.best: float | None = None
        self.epochs = 0
        self.stop = False
        self.saved_step = 0
        self.rests_until = 0.0

    @property
    def score(self) -> float | None:
        """The best value so far, so signed that more is better; None where nothing is validated."""
        return None if self.best is None else -self.sign * self.best

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where the checkpoint says that the training has ended; keep a start that is judged."""
        trainer.should_stop |= self.stop
        assert isinstance(pl_module, RetrievalModule)
        if pl_module.untrained is not None and not trainer.global_step:
            # In single precision, as Lightning holds what is logged: the two are compared.
            untrained = self._comparable(-self.sign * float(np.float32(pl_module.untrained)))
            self._take(pl_module, untrained, 0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write `last.ckpt` once it is so many steps old; see `SHARE`."""
        due = self._is_due(trainer)
        ends = batch_idx + 1 == trainer.num_training_batches or trainer.should_stop
        between = trainer.val_check_batch  # None where validations come by the clock
        validates = between is not None and (batch_idx + 1) % between == 0
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if due and stepped and not ends and not validates:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `best.ckpt` if the monitored metric has not been as good before, in an epoch."""
        value = self._comparable(float(trainer.callback_metrics[self.monitor]))
        as_untrained = not self.epochs and value == self.best
        if self.best is None or as_untrained or self.sign * value < self.sign * self.best:
            self._take(pl_module, value, trainer.current_epoch + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write `last.ckpt` once it is so many steps old: of epochs of a dozen steps it took a twentieth.

        After the first epoch in any case, and after the last: `warm_start=` takes the optimizer from there.
        """
        if self.best is None:
            self.epochs = trainer.current_epoch + 1
        self.stop = trainer.should_stop
        is_first, is_last = not self.saved_step, trainer.current_epoch + 1 == trainer.max_epochs
        if is_first or is_last or self.stop or self._is_due(trainer):
            self._save(trainer)
        else:
            for logger in trainer.loggers:
                logger.save()  # for whoever watches the curves

    def load_best(self, module: RetrievalModule) -> None:
        """Put the best weights into the module, where something was monitored; else it keeps the last.

        With these it learns how new items are embedded.
        """
        if self.best is not None:
            if not self.epochs:
                LOG.info(UNTRAINED, self.monitor, self.best)
            module.load_state_dict(read_checkpoint(self.folder / BEST, module.device)["state_dict"])
        fit_new_items(module.model)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training must know."""
        return {
            "best": self.best,
            "epochs": self.epochs,
            "stop": self.stop,
            "saved_step": self.saved_step,
            "batches": self.batches.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint knows."""
        self.best, self.epochs = state_dict["best"], state_dict["epochs"]
        self.stop, self.saved_step = state_dict["stop"], state_dict["saved_step"]
        self.batches.load_state_dict(state_dict["batches"])

    def _take(self, module: pl.LightningModule, value: float, epochs: int) -> None:
        self.best, self.epochs = value, epochs
        write_checkpoint(self.folder / BEST, {"state_dict": module.state_dict()})

    def _comparable(self, value: float) -> float:
        return self.sign * math.inf if math.isnan(value) else value

    def _is_due(self, trainer: pl.Trainer) -> bool:
        is_old = trainer.global_step - self.saved_step >= self.every_steps
        return is_old and time.monotonic() >= self.rests_until

    def _save(self, trainer: pl.Trainer) -> None:
        began = time.monotonic()
        for logger in trainer.loggers:
            logger.save()  # a resumed training does not write again what came before the checkpoint
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)
        ended = time.monotonic()
        took = ended - began
        self.rests_until = ended + took / SHARE if took > SHORT else 0.0
