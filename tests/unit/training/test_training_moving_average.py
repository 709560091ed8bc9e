"""An exponential moving average of the weights, with two steps per epoch that each lower one weight by 1."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from one_weight import IGNORED_WARNINGS, OneWeight, fit

from twotower.training.callbacks.checkpointing import Checkpointing
from twotower.training.checkpoints import BEST, read_checkpoint
from twotower.training.selection.moving_average import MovingAverage
from twotower.training.trainer import TrainerChoice

pytestmark = IGNORED_WARNINGS
DECAY = 0.3
# In the first two steps the decay is 2 / 11 and 3 / 12, then 0.3.
AVERAGES = [-9 / 11]
for step, decay in enumerate([3 / 12, DECAY, DECAY, DECAY, DECAY], start=2):
    AVERAGES.append(decay * AVERAGES[-1] + (1 - decay) * -step)


def train(
    module: OneWeight, folder: Path, epochs: int = 3, resume: bool = False
) -> tuple[Checkpointing, MovingAverage]:
    average, batches = MovingAverage(DECAY), Mock(state_dict=dict)
    settings = TrainerChoice.Config(checkpoint_every_steps=1)
    checkpointing = Checkpointing(settings, folder, batches, "max", keeps_initial=False)
    fit(module, [average, checkpointing], epochs=epochs, steps=2, resume=folder if resume else None)
    return checkpointing, average


def test_the_average_is_validated_and_the_weights_go_on(tmp_path: Path) -> None:
    module = OneWeight([0.1, 0.3, 0.2])
    checkpointing, average = train(module, tmp_path)
    assert module.validated == pytest.approx(AVERAGES[1::2])
    assert float(module.weight.detach()) == -6
    best = read_checkpoint(tmp_path / BEST)["state_dict"]
    assert float(best["weight"]) == pytest.approx(AVERAGES[3])
    assert float(best["fixed"]) == 1
    average.copy_to(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[5])
    checkpointing.load_best(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[3])


def test_without_validation_the_weights_stay_until_the_end() -> None:
    module, average = OneWeight([]), MovingAverage(DECAY)
    fit(module, [average], epochs=3, steps=2)
    assert float(module.weight.detach()) == -6
    average.copy_to(module)
    assert float(module.weight.detach()) == pytest.approx(AVERAGES[5])


def test_a_resumed_training_has_the_average_of_an_undisturbed_one(tmp_path: Path) -> None:
    train(OneWeight([0.1, 0.3]), tmp_path, epochs=2)
    module = OneWeight([0.1, 0.3, 0.4])
    _, average = train(module, tmp_path, resume=True)
    assert module.validated == pytest.approx(AVERAGES[5:])
    assert float(module.weight.detach()) == -6
    assert average.num_steps == 6


def test_without_an_epoch_there_is_no_average() -> None:
    """As in a refit of a phase whose initial embeddings were best."""
    module, average = OneWeight([]), MovingAverage(DECAY)
    fit(module, [average], epochs=0)
    average.copy_to(module)
    assert float(module.weight.detach()) == 0
