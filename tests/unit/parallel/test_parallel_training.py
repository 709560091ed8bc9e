"""Two and four processes train the weights that one trains with the same batches."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forks import ForkedWorker, ranks_are_forks
from torch import Tensor

from twotower.commands.compose import load_settings
from twotower.config.errors import InputError
from twotower.evaluation.feature_importance import feature_importance
from twotower.evaluation.item_content import metric_data
from twotower.jobs.open_run import load_dataset
from twotower.jobs.run_config import RunConfig
from twotower.model.negatives.mined import Mined
from twotower.parallel.processes import FailedProcessError, processes
from twotower.parallel.ranks import rank, sum_over_ranks, world_size
from twotower.parallel.sharded_loss import ShardedBatchLoss
from twotower.training.callbacks.curves import EPOCH_LOSS
from twotower.training.callbacks.hard_negative_refresh import refresh_hard_negatives
from twotower.training.checkpoints import FIT, final_path, read_checkpoint, read_final
from twotower.training.fit import TrainContext, fit
from twotower.training.parts import build_training

EPOCHS = int(os.environ.get("TWOTOWER_TEST_EPOCHS", "1"))
"""3 compares weights after 105 steps: TWOTOWER_TEST_EPOCHS=3 pytest tests/unit/parallel, two minutes."""
COMMON = (
    *("data=synthetic", "data.num_users=150", "data.num_items=120", "data.num_interactions=3000"),
    *("features=synthetic", "initialization=random", "embedding_dim=16", "item_tower.widths=[16]"),
    *(f"trainer.max_epochs={EPOCHS}", "objective.batch_size=71", "optimizer=adam"),
)
"""35 steps an epoch; 71 examples do not divide equally."""
CASES = {
    "in_batch": ("objective=next_item", "negatives=in_batch", "history.dropout=0"),
    "catalogue": ("objective=next_item", "negatives=catalogue", "history.dropout=0"),
    "shares": ("objective=next_item", "negatives=catalogue", "history.dropout=0", "history.items=table"),
    "basket_shares": (  # fewer users in a batch than items; also 35 steps
        *("objective=next_basket", "objective.batch_size=83", "negatives=catalogue"),
        "objective.epoch_requests=2905",
        *("history.dropout=0", "history.items=table", "loss=in_batch_softmax", "loss.temperature=0.2"),
        # With other vectors the bias of the item tower would have no gradient.
        *("item_bias=none", "user_tower.normalize=l2", "item_tower.normalize=l2"),
    ),
    "uniform": ("objective=next_item", "negatives=uniform", "loss=bce", "history.dropout=0"),
    "basket": (
        *("objective=next_basket", "objective.batch_size=249", "negatives=catalogue", "history.dropout=0"),
    ),
    "sequence": (
        "objective=sequence",
        "objective.batch_size=250",
        f"trainer.max_epochs={3 * EPOCHS}",
        "history=sasrec",
        "history.hidden_dropout=0",
        "negatives=in_batch",
    ),
    "sequence_shares": (  # the last batch has one sequence, so that a process has none
        *("objective=sequence", "objective.batch_size=71", "history=sasrec", "history.hidden_dropout=0"),
        *("history.items=table", "negatives=catalogue", "loss=in_batch_softmax", "history.members=3"),
    ),
    "sparse": (
        *("objective=next_item", "negatives=in_batch", "history.dropout=0", "history.items=table"),
        *("features=ids", "history.sparse=true", "user_tower.widths=[16]"),
    ),
    "unread_sparse": (  # layers of widths=auto that are skipped leave the table of users without a reader
        *("objective=next_item", "negatives=in_batch", "history.dropout=0", "features=ids"),
        *("user_tower.widths=auto", "item_tower.widths=auto"),
    ),
}


def train(folder: Path, cases: Sequence[str]) -> None:
    for name, overrides in ((name, CASES[name]) for name in cases):
        settings = load_settings("train", [*COMMON, *overrides, f"output_root={folder}"])
        settings["features"]["item"]["item_id"]["dropout"] = 0.0  # each process draws its own
        config = RunConfig.composed(settings)
        dataset = load_dataset(config, rebuild=False)
        module, batches = build_training(config, dataset, dataset.train, None, config.initialization.build())
        module.model.skip_optional_layers(name == "unread_sparse")
        fit(TrainContext(config.trainer, folder / name), module, batches, FIT)


def weights(folder: Path) -> Mapping[str, Tensor]:
    loaded: Mapping[str, Tensor] = read_checkpoint(final_path(folder, FIT))["state_dict"]
    return loaded


@pytest.fixture(autouse=True, scope="module")
def forked_ranks() -> Iterator[None]:
    """Fork the ranks; test_end_to_end_processes.py spawns them."""
    with ranks_are_forks():
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train(folder, [*CASES])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("size", "cases"), [(2, [*CASES]), (4, ["basket_shares", "sparse"])])
def test_several_processes_train_the_weights_of_one(
    alone: Path, tmp_path: Path, size: int, cases: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    follow = partial(train, tmp_path, cases)
    with caplog.at_level("INFO", "twotower"), processes(size, 1, follow, tmp_path):
        follow()
    shown = [vars(record)["fields"]["loss"] for record in caplog.records if hasattr(record, "fields")]
    curves = [read_final(tmp_path / name, FIT)[1].curves[EPOCH_LOSS] for name in cases]
    assert shown == [loss for curve in curves for loss in curve]  # of all processes
    for name in cases:
        losses = [read_final(folder / name, FIT)[1].curves[EPOCH_LOSS] for folder in (alone, tmp_path)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5 if "sequence" in name else 1e-6)
        if "sequence" in name:  # the gradient of a bias of attention's keys is rounding alone
            continue
        one, several = weights(alone / name), weights(tmp_path / name)
        assert one.keys() == several.keys()
        for key, values in one.items():
            torch.testing.assert_close(several[key], values, rtol=0, atol=1e-6, msg=f"{name}: {key} differs")


@pytest.mark.parametrize("loss", ["loss.learned_temperature=true", "loss=bce", "loss=bpr"])
def test_a_process_without_examples_has_gradients_of_the_parameters_of_the_others(
    tmp_path: Path, loss: str
) -> None:
    """Otherwise the others would wait for them without end."""
    config = RunConfig.composed(
        load_settings(
            "train",
            [*COMMON, "negatives=in_batch", "item_bias=popularity", loss, f"output_root={tmp_path}"],
        )
    )
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, config.initialization.build())
    batch = next(iter(batches))
    without = replace(batch, weights=torch.zeros_like(batch.weights))
    module.compute_loss = ShardedBatchLoss(module.model, module.negatives, module.loss)
    module.scorer = module.compute_loss.scorer
    usual, empty = (module.gradients(module.batch_loss(each)) for each in (batch, without))
    assert [each is None for each in usual] == [each is None for each in empty]
    assert all(not each.any() for each in empty if each is not None)


def measure(folder: Path) -> tuple[dict[str, Any], Tensor, list[list[int]]]:
    settings = load_settings(
        "train", [*COMMON, "initialization=svd", "negatives=mined", f"output_root={folder}"]
    )
    config = RunConfig.composed(settings)
    dataset = load_dataset(config, rebuild=False)
    evaluator = config.metrics.build(metric_data(dataset, config.features.item))
    initialization = config.initialization.build()
    module, _ = build_training(config, dataset, dataset.train, evaluator, initialization)
    arguments = module.model.eval(), dataset.valid, evaluator, dataset.train, config.trainer.monitor
    weights = torch.cat([each.detach().flatten() for each in module.parameters()])
    refresh_hard_negatives(module, dataset.train)
    mined = module.negatives
    assert isinstance(mined, Mined)
    initial = sum_over_ranks(weights) / world_size()
    return feature_importance(*arguments) | {"seconds": 0.0}, initial, mined.windows.tolist()


def test_two_processes_compute_what_one_computes_before_and_between_epochs(tmp_path: Path) -> None:
    importance, initial, windows = measure(tmp_path)
    follow = partial(measure, tmp_path)
    with processes(2, 1, follow, tmp_path):
        divided, mean, found = follow()
    assert importance["drops"]
    assert divided == importance
    assert torch.equal(mean, initial)
    assert any(map(any, windows))
    assert found == windows


def rehearse_overflow(folder: Path) -> None:
    """Train with a loss that is not finite on the share of rank 1."""
    settings = load_settings(
        "train",
        [*COMMON, "negatives=in_batch", "trainer.precision=bf16-mixed", f"output_root={folder}"],
    )
    config = RunConfig.composed(settings)
    dataset = load_dataset(config, rebuild=False)
    module, batches = build_training(config, dataset, dataset.train, None, config.initialization.build())
    usual = module.batch_loss
    module.batch_loss = lambda *arguments, **named: usual(*arguments, **named) * (torch.inf if rank() else 1)  # type: ignore[method-assign]
    fit(TrainContext(config.trainer, folder, lambda: None), module, batches, FIT)


def test_a_first_loss_that_is_not_finite_on_one_rank_is_an_input_error(tmp_path: Path) -> None:
    follow = partial(rehearse_overflow, tmp_path)
    with processes(2, 1, follow, tmp_path), pytest.raises(InputError, match="the first loss is inf"):
        follow()


def test_if_a_process_ends_before_the_group_is_complete_the_others_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[multiprocessing.Process] = []

    def start(target: Any, args: Sequence[Any], daemon: bool) -> multiprocessing.Process:
        work, argument = (sys.exit, 3) if args[1] == 1 else (time.sleep, 60)
        children.append(ForkedWorker(target=work, args=(argument,), daemon=daemon))
        return children[-1]

    monkeypatch.setattr("twotower.parallel.processes.CONTEXT", SimpleNamespace(Process=start))
    monkeypatch.setattr("twotower.parallel.processes.GRACE_SECONDS", 0.1)
    with (
        pytest.raises(FailedProcessError, match="rank 1 ended with exit status 3"),
        processes(3, 1, os.getpid, tmp_path),
    ):
        pass
    for child in children:
        child.join(10)
    assert [child.exitcode for child in children] == [3, -9]
