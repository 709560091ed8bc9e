"""The line of progress, on a terminal as wide as a screen may be: a pty that a fork writes to."""

import fcntl
import logging
import os
import pty
import re
import struct
import termios
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from forks import Fork
from terminals import remaining_lines

from twotower.experiments.console.rich import Rich
from twotower.training.callbacks import epoch_lines
from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.callbacks.curves import Curves
from twotower.training.trainer import TrainerChoice

METRIC, NUM_BATCHES = "valid/recall_at_20", 4


def train(monkeypatch: pytest.MonkeyPatch, name: str = "fit", num_epochs: int = 100, epochs: int = 3) -> None:
    """Run the callback as a training of some epochs does that takes a second a batch."""
    now = [1000.0]
    monkeypatch.setattr(epoch_lines, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    console, log = Rich(), logging.getLogger("twotower")
    log.setLevel(logging.INFO)
    log.addHandler(console)
    curves: Any = Curves(METRIC)
    keep = Checkpointing(TrainerChoice.Config(), Path(), Mock(), "max", keeps_initial=False)
    at = SimpleNamespace(total_batch_idx=-1)
    trainer: Any = SimpleNamespace(current_epoch=0, callback_metrics={}, num_training_batches=NUM_BATCHES)
    trainer.fit_loop, trainer.max_epochs = SimpleNamespace(epoch_loop=at), num_epochs
    lines: Any = epoch_lines.EpochLines(name, curves, keep, console.draw)
    lines.on_train_start(trainer, None)
    for epoch in range(epochs):
        trainer.current_epoch = epoch
        lines.on_train_epoch_start(trainer, None)
        for batch in range(NUM_BATCHES):
            at.total_batch_idx += 1
            now[0] += 1.0
            curves.total, curves.num_summed = torch.tensor(6.25 * (batch + 1)), batch + 1
            lines.on_train_batch_end(trainer, None, None, None, batch)
        if name == "fit":
            lines.on_validation_start(trainer, None)
            trainer.callback_metrics[METRIC] = torch.tensor(0.25 - epoch / 100)
            keep.score, keep.epochs = 0.25, 1
        lines.on_train_epoch_end(trainer, None)
    log.removeHandler(console)
    console.close()


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("name", ["fit", "refit"])
def test_on_a_terminal_there_is_one_line_an_epoch_that_never_wraps(
    width: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    child = Fork(lambda: train(monkeypatch, name), Path(os.ttyname(theirs)))
    assert child.wait() == 0
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    drawn = re.split(r"[\r\n]|\x1b\[[^A-Za-z]*[A-Za-z]", shown)
    assert max(map(len, drawn)) < width
    left = remaining_lines(shown)
    assert [line.partition("  ")[0] for line in left] == [f"{name} {epoch}/100" for epoch in (1, 2, 3)]
    figures = "  recall@20 0.2300  kept 0.2500" if name == "fit" else ""
    assert left[-1].startswith(f"{name} 3/100  loss 6.2500{figures}  ")
    assert left[-1].endswith("  4.0 s  at most 6:28 left")  # 97 epochs of four batches of a second
    assert any("/100  50%  loss 6.2500" in text and text.endswith("  at most 6:30 left") for text in drawn)
    assert any("validating" in text for text in drawn) == (name == "fit")


def test_the_time_left_is_that_of_all_epochs_at_the_pace_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(monkeypatch, "refit", num_epochs=3)
    figures = "loss 6.2500  4.0 s"
    assert capsys.readouterr().out.splitlines() == [
        f"refit 1/3  {figures}  at most 0:08 left",
        f"refit 2/3  {figures}  at most 0:04 left",
        f"refit 3/3  {figures}",
    ]
