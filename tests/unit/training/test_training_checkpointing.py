"""When a checkpoint to resume from is written while an epoch goes on."""

import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from twotower.evaluation.user_values import exceeds
from twotower.training.callbacks import checkpointing as room
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.checkpoints import BEST, FINAL, INITIAL, LAST, delete_progress, read_checkpoint
from twotower.training.trainer import TrainerChoice


@pytest.mark.parametrize(("seconds", "written"), [(0.5, [4, 8, 12, 16]), (2.0, [4, 14])])
def test_a_checkpoint_that_takes_long_waits(
    seconds: float, written: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 2 s: the next is due 40 s after its end, at 58 s; a step takes 4."""
    now, saved = [0.0], []
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])

    def save(*_: Any, **__: Any) -> None:
        saved.append(trainer.global_step)
        now[0] += seconds

    trainer = Mock(loggers=[], should_stop=False)
    trainer.num_training_batches, trainer.save_checkpoint = 1000, save
    keep = Checkpointing(
        TrainerChoice.Config(checkpoint_every_steps=4), tmp_path, Mock(), None, keeps_initial=False
    )
    for step in range(1, 18):
        trainer.global_step = step
        now[0] += 4
        keep.on_train_batch_end(trainer, Mock(), None, None, step - 1)
    assert saved == written


def test_short_epochs_write_the_first_the_last_and_what_is_due(tmp_path: Path) -> None:
    """Of epochs of 12 steps and 50 between two checkpoints: after 12, 72 (60 later), and 84, the last."""
    saved: list[int] = []
    trainer = Mock(loggers=[], should_stop=False, max_epochs=7)
    trainer.save_checkpoint = lambda *_, **__: saved.append(trainer.global_step)
    keep = Checkpointing(
        TrainerChoice.Config(checkpoint_every_steps=50), tmp_path, Mock(), None, keeps_initial=False
    )
    for epoch in range(7):
        trainer.global_step, trainer.current_epoch = 12 * (epoch + 1), epoch
        keep.on_train_epoch_end(trainer, Mock())
    assert saved == [12, 72, 84]
    trainer.global_step, trainer.should_stop, trainer.max_epochs = 88, True, 9
    keep.on_train_epoch_end(trainer, Mock())
    assert saved[-1] == 88  # a training that stops is gone on from where it stopped


@pytest.mark.parametrize(
    ("mode", "epochs", "best"),
    [
        ("max", [0.2, 0.25, 0.25], (0.25, 2)),  # of equals the first
        ("max", [0.3, math.nan, 0.2], (0.3, 1)),
        ("max", [math.nan, 0.2, 0.1], (0.2, 2)),
        ("min", [0.8, 0.75, 0.9], (0.75, 2)),
    ],
)
def test_the_initial_and_the_best_weights_are_written(
    mode: Any, epochs: list[float], best: tuple[float, int], tmp_path: Path
) -> None:
    monitor = TrainerChoice.Config().monitor
    keep = Checkpointing(TrainerChoice.Config(), tmp_path, Mock(), mode, keeps_initial=True)
    module, trainer = Mock(), Mock(should_stop=False, global_step=0)
    module.state_dict = lambda: {"weights": "initial"}
    keep.on_train_start(trainer, module)
    for epoch, value in enumerate(epochs):
        module.state_dict = lambda epoch=epoch: {"weights": f"epoch {epoch + 1}"}
        trainer.current_epoch, trainer.callback_metrics = epoch, {monitor: torch.tensor(value)}
        keep.on_validation_end(trainer, module)
    trainer.global_step = 9
    keep.on_train_start(trainer, module)  # resumed
    assert (keep.best, keep.epochs) == (pytest.approx(best[0]), best[1])
    assert read_checkpoint(tmp_path / INITIAL)["state_dict"] == {"weights": "initial"}
    assert read_checkpoint(tmp_path / BEST)["state_dict"] == {"weights": f"epoch {best[1]}"}


def test_one_user_or_equal_users_show_no_improvement() -> None:
    one, two = np.array([0.5]), np.array([0.5, 0.5])
    assert not exceeds(one, np.zeros(1))
    assert not exceeds(two, two)
    assert exceeds(two, np.zeros(2))  # no spread
    half = np.array([0.5, 0.0, 0.0, 0.0])  # of four users: one standard error
    assert not exceeds(half, np.zeros(4))
    assert exceeds(half + 0.01, np.zeros(4))
    assert exceeds(None, one)
    assert exceeds(one, None)


def test_a_phase_that_has_ended_keeps_its_weights(tmp_path: Path) -> None:
    for name in (INITIAL, BEST, LAST, FINAL):
        (tmp_path / name).touch()
    for _ in range(2):
        delete_progress(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {FINAL}


@pytest.mark.parametrize(
    ("mode", "score", "value", "text"),
    [
        (None, None, None, ""),
        ("max", 0.25, None, "kept 0.2500"),
        ("max", 0.25, 0.25, "kept"),
        ("max", 0.25, 0.125, "kept 0.2500"),
        ("min", -0.75, 0.875, "kept 0.7500"),
    ],
)
def test_the_line_of_an_epoch_says_what_is_kept(
    mode: Any, score: float | None, value: float | None, text: str, tmp_path: Path
) -> None:
    keep = Checkpointing(TrainerChoice.Config(), tmp_path, Mock(), mode, keeps_initial=False)
    keep.score = score
    assert keep.kept_text(value) == text
