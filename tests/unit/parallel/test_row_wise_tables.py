"""Two processes with a share of the rows of a table train the weights that one with whole tables trains."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.parallel.processes import processes
from twotower.parallel.row_wise_table import INSTALL, RowWiseTable, is_torchrec_installed
from twotower.training.callbacks.curves import EPOCH_LOSS, TrialPruned
from twotower.training.checkpoints import FIT, final_path, read_checkpoint, read_final
from twotower.training.fit import TrainContext, fit
from twotower.training.initialization.svd import Svd
from twotower.training.parts import build_training

needs_torchrec = pytest.mark.skipif(not is_torchrec_installed(), reason="needs torchrec and fbgemm-gpu-cpu")
SETTINGS = (
    *("data=synthetic", "data.num_users=151", "data.num_items=120", "data.num_interactions=3000"),
    *("features=ids", "features.item.item_id.row_wise=true", "features.user.user_id.row_wise=true"),
    *("optimizer=rowwise_adagrad", "optimizer.schedule=cosine", "embedding_dim=16", "history.dropout=0"),
    *("objective=next_item", "negatives=in_batch", "user_tower.widths=[16]", "item_bias=popularity"),
    *("objective.batch_size=71", "trainer.max_epochs=3", "trainer.checkpoint_every_steps=20"),
)
"""About 105 steps; users have an odd number, tables 15 columns, and the batch 71 examples."""


def never(epoch: int, value: float | None) -> bool:
    return False


def after_two_epochs(epoch: int, value: float | None) -> bool:
    return epoch == 2


def train(folder: Path, stops: Callable[[int, float | None], bool] = never) -> None:
    config = RunConfig.composed(load_settings("train", [*SETTINGS, f"output_root={folder}"]))
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, Svd.Config().build())
    divided = [each for each in module.model.modules() if isinstance(each, RowWiseTable)]
    assert [len(each.local_rows()) for each in divided] in ([], [76, 61], [76, 60])
    with contextlib.suppress(TrialPruned):
        fit(TrainContext(config.trainer, folder, epoch_callback=stops), module, batches, FIT)


def train_each(folder: Path) -> None:
    train(folder / "two")
    train(folder / "two_then_one", after_two_epochs)
    train(folder / "one_then_two")


def weights(folder: Path) -> dict[str, Tensor]:
    return dict(read_checkpoint(final_path(folder, FIT))["state_dict"])


@needs_torchrec
@pytest.mark.slow
def test_two_processes_train_the_weights_of_one_and_continue_its_training(tmp_path: Path) -> None:
    train(tmp_path / "alone")
    train(tmp_path / "one_then_two", after_two_epochs)
    follow = partial(train_each, tmp_path)
    with processes(2, 1, follow, tmp_path):
        follow()
    assert not final_path(tmp_path / "two_then_one", FIT).exists()
    train(tmp_path / "two_then_one")
    expected, losses = weights(tmp_path / "alone"), read_final(tmp_path / "alone", FIT)[1].curves[EPOCH_LOSS]
    assert expected["model.item_encoders.item_id.table.weight"].shape == (121, 15)
    for name in ("two", "two_then_one", "one_then_two"):
        assert read_final(tmp_path / name, FIT)[1].curves[EPOCH_LOSS] == pytest.approx(losses, abs=1e-6)
        trained = weights(tmp_path / name)
        assert trained.keys() == expected.keys()
        for key, values in expected.items():
            torch.testing.assert_close(trained[key], values, rtol=0, atol=1e-6, msg=f"{name}: {key} differs")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["optimizer=adam"],
            "optimizer: features.user.user_id.row_wise=true needs optimizer=rowwise_adagrad",
        ),
        (
            ["trainer.ema_decay=0.9"],
            "trainer.ema_decay: averages no divided tables; set it to null, or features.",
        ),
        (["features.item.item_id.sparse=false"], "item_id.sparse: row_wise=true gives sparse gradients; set"),
    ],
)
def test_what_a_divided_table_cannot_do_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_run(overrides)


@pytest.mark.skipif(is_torchrec_installed(), reason="torchrec is installed")
def test_the_message_without_torchrec_names_the_command() -> None:
    checked_run([])  # one process has whole tables
    with pytest.raises(InputError) as error:
        checked_run(["trainer.devices=2"])
    assert f"features.item.item_id.row_wise: needs TorchRec for several processes: {INSTALL}" in str(
        error.value
    )


def checked_run(overrides: list[str]) -> None:
    load_settings("train", [*SETTINGS, *overrides])
