"""A GPU trains what a CPU trains; skipped without one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from twotower.commands.compose import load_settings
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.training.callbacks.curves import EPOCH_LOSS
from twotower.training.checkpoints import FIT
from twotower.training.fit import TrainContext, fit
from twotower.training.parts import build_training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
COMMON = (
    *("data=synthetic", "data.num_users=150", "data.num_items=120", "data.num_interactions=3000"),
    *("features=synthetic", "initialization=random", "embedding_dim=16", "objective=next_item"),
    *("trainer.max_epochs=2", "objective.batch_size=71", "history.dropout=0"),
)


def losses(folder: Path, accelerator: str, precision: str, words: tuple[str, ...]) -> list[float]:
    """Return the loss of each epoch."""
    device = (f"trainer.accelerator={accelerator}", f"trainer.precision={precision}")
    settings = load_settings("train", [*COMMON, *words, *device, f"output_root={folder}"])
    settings["features"]["item"]["item_id"]["dropout"] = 0.0  # devices draw differently
    config = RunConfig.composed(settings)
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, config.initialization.build())
    result = fit(TrainContext(config.trainer, folder / accelerator / precision), module, batches, FIT)
    return list(result.curves[EPOCH_LOSS])


@pytest.mark.parametrize(
    "words",
    [
        ("negatives=in_batch",),
        ("negatives=catalogue", "loss=power_softmax"),
        ("negatives=uniform", "loss=bce"),
    ],
    ids=["in_batch", "catalogue", "uniform"],
)
def test_losses_are_those_of_the_cpu(words: tuple[str, ...], tmp_path: Path) -> None:
    expected = losses(tmp_path, "cpu", "32-true", words)
    np.testing.assert_allclose(losses(tmp_path, "gpu", "32-true", words), expected, rtol=1e-3)
    np.testing.assert_allclose(losses(tmp_path, "gpu", "bf16-mixed", words), expected, rtol=0.05)
