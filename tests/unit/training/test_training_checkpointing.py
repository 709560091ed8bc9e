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
from twotower.training.checkpoints import BEST, FINAL, LAST, delete_progress, read_checkpoint
from twotower.training.module import RetrievalModule
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
    keep = Checkpointing(TrainerChoice.Config(checkpoint_every_steps=4), tmp_path, Mock(), None)
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
    keep = Checkpointing(TrainerChoice.Config(checkpoint_every_steps=50), tmp_path, Mock(), None)
    for epoch in range(7):
        trainer.global_step, trainer.current_epoch = 12 * (epoch + 1), epoch
        keep.on_train_epoch_end(trainer, Mock())
    assert saved == [12, 72, 84]
    trainer.global_step, trainer.should_stop, trainer.max_epochs = 88, True, 9
    keep.on_train_epoch_end(trainer, Mock())
    assert saved[-1] == 88  # a training that stops is gone on from where it stopped


@pytest.mark.parametrize(
    ("mode", "initial_score", "epochs", "kept"),
    [
        ("max", 0.3, [0.2, 0.25], (0.3, 0, "start")),
        ("max", 0.3, [0.2, 0.31], (0.31, 2, "epoch 2")),
        ("max", 0.3, [0.3, 0.3], (0.3, 1, "epoch 1")),  # of equals the trained
        ("min", -0.7, [0.8, 0.75], (0.7, 0, "start")),
        ("min", -0.7, [0.8, 0.65], (0.65, 2, "epoch 2")),
        ("max", None, [0.2, 0.25], (0.25, 2, "epoch 2")),
        ("max", math.nan, [0.2, 0.25], (0.25, 2, "epoch 2")),
    ],
)
def test_a_start_that_no_epoch_betters_is_kept(
    mode: Any, initial_score: float | None, epochs: list[float], kept: tuple[float, int, str], tmp_path: Path
) -> None:
    monitor = TrainerChoice.Config().monitor
    keep = Checkpointing(TrainerChoice.Config(), tmp_path, Mock(), mode)
    module = Mock(spec=RetrievalModule, initial_score=initial_score, initial_values=None, validation=Mock())
    trainer = Mock(should_stop=False, global_step=0)
    for epoch, name in enumerate(["start", *(f"epoch {number}" for number in (1, 2))]):
        module.state_dict = lambda name=name: {"weights": name}
        if not epoch:
            keep.on_train_start(trainer, module)
            continue
        trainer.current_epoch, trainer.callback_metrics = (
            epoch - 1,
            {monitor: torch.tensor(epochs[epoch - 1])},
        )
        keep.on_validation_end(trainer, module)
    assert (keep.best, keep.epochs) == (pytest.approx(kept[0]), kept[1])
    assert read_checkpoint(tmp_path / BEST)["state_dict"] == {"weights": kept[2]}


INITIAL = [0.5, 0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("min_errors", "epochs", "kept"),
    [
        (1.0, [[1.0, 0.0, 0.5, 0.0], [0.5, 0.0, 0.5, 0.5]], 0),  # differences .5, 0, 0, 0: one standard error
        (0.9, [[1.0, 0.0, 0.5, 0.0], [0.5, 0.0, 0.5, 0.5]], 1),
        (1.0, [[0.5, 0.0, 0.5, 0.0], [1.0, 0.5, 0.5, 0.0]], 2),  # of two users: 1.7 standard errors
        (1.0, [[1.0, 0.5, 0.5, 0.0], [1.0, 0.5, 0.5, 0.1]], 2),  # once replaced, any improvement counts
        (0.0, [INITIAL, INITIAL], 1),
        (1.0, [INITIAL, INITIAL], 0),
    ],
)
def test_an_epoch_replaces_the_start_only_beyond_the_noise(
    min_errors: float, epochs: list[list[float]], kept: int, tmp_path: Path
) -> None:
    settings = TrainerChoice.Config(min_standard_errors=min_errors)
    keep = Checkpointing(settings, tmp_path, Mock(), "max")
    initial = np.array(INITIAL)
    module = Mock(
        spec=RetrievalModule, initial_score=initial.mean(), initial_values=initial, validation=Mock()
    )
    trainer = Mock(should_stop=False, global_step=0)
    module.state_dict = dict
    keep.on_train_start(trainer, module)
    for number, values in enumerate(epochs):
        module.validation.monitored = lambda _, values=values: np.array(values)
        trainer.current_epoch = number
        trainer.callback_metrics = {settings.monitor: torch.tensor(np.mean(values))}
        keep.on_validation_end(trainer, module)
    assert keep.epochs == kept


def test_one_user_or_equal_users_show_no_improvement() -> None:
    one, two = np.array([0.5]), np.array([0.5, 0.5])
    assert not exceeds(one, np.zeros(1), 1.0)
    assert not exceeds(two, two, 1.0)
    assert exceeds(two, np.zeros(2), 1.0)  # no spread
    assert exceeds(one, np.zeros(1), 0.0)
    assert exceeds(None, one, 1.0)
    assert exceeds(one, None, 1.0)


def test_a_training_that_is_resumed_does_not_keep_the_start(tmp_path: Path) -> None:
    keep = Checkpointing(TrainerChoice.Config(), tmp_path, Mock(), "max")
    keep.on_train_start(Mock(should_stop=False, global_step=9), Mock(spec=RetrievalModule, initial_score=0.3))
    assert keep.best is None


def test_a_phase_that_has_ended_keeps_its_weights(tmp_path: Path) -> None:
    for name in (BEST, LAST, FINAL):
        (tmp_path / name).touch()
    for _ in range(2):
        delete_progress(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {FINAL}


@pytest.mark.parametrize(
    ("mode", "score", "epochs", "value", "text"),
    [
        (None, None, 0, None, ""),
        ("max", 0.25, 2, None, "kept 0.2500"),
        ("max", 0.25, 2, 0.25, "kept"),
        ("max", 0.25, 2, 0.125, "kept 0.2500"),
        ("max", 0.25, 0, 0.125, "kept initial 0.2500"),
        ("max", 0.25, 0, 0.375, "kept initial 0.2500 (better by less than 1 standard error)"),
        ("min", -0.75, 0, 0.875, "kept initial 0.7500"),
        ("min", -0.75, 0, 0.625, "kept initial 0.7500 (better by less than 1 standard error)"),
    ],
)
def test_the_line_of_an_epoch_says_what_is_kept_and_why(
    mode: Any, score: float | None, epochs: int, value: float | None, text: str, tmp_path: Path
) -> None:
    keep = Checkpointing(TrainerChoice.Config(), tmp_path, Mock(), mode)
    keep.score, keep.epochs = score, epochs
    assert keep.kept_text(value) == text
    keep.min_errors = 2.0
    assert keep.kept_text(value) == text.replace("1 standard error", "2 standard errors")
