"""Which settings become hyper-parameters, which figures columns, and which runs are one group."""

from typing import Any

import pytest
import yaml

from twotower.commands.conf import CONF
from twotower.experiments.runs.result import Result
from twotower.experiments.runs.result_parts import Training
from twotower.experiments.tensorboard.hparams import (
    ALWAYS,
    SOME_HAVE,
    final_metrics,
    hyperparameters,
    trial_id,
)

SETTINGS: dict[str, Any] = {
    "data": {"_target_": "twotower.data.sources.synthetic.Synthetic", "num_users": 300},
    "features": {"user": {"country": {"_target_": "x.Categorical", "dim": 8}}},
    "user_tower": {"_target_": "twotower.model.towers.mlp.Mlp", "widths": [128, 64], "normalize": "none"},
    "loss": {"_target_": "twotower.model.losses.sampled_softmax.SampledSoftmax", "temperature": 0.1},
    "index": {"_target_": "twotower.index.kinds.ivf_flat.IVFFlat", "target_recall": 0.9},
    "trainer": {"_target_": "twotower.training.trainer.TrainerChoice", "max_epochs": 3, "refit": False},
    "baselines": {},
    "name": "default",
    "output_root": "outputs",
    "seed": 42,
    "embedding_dim": 64,
}
SHOWN = {
    "data": "synthetic",
    "user_tower": "mlp",
    "user_tower.widths": "[128, 64]",
    "user_tower.dropout": 0.0,
    "user_tower.input_dropout": 0.0,
    "loss": "in_batch_softmax",
    "loss.temperature": 0.1,
    "index": "ivf_flat",
    "index.num_subquantizers": "-",
    "index.target_recall": "0.9",
    "trainer.max_epochs": 3,
    "trainer.monitor": "valid/recall_at_20",
    "embedding_dim": 64,
}


def test_important_keys_are_shown_with_their_types() -> None:
    found = hyperparameters(SETTINGS, [])
    assert found == SHOWN
    assert type(found["embedding_dim"]) is int


@pytest.mark.parametrize(
    ("override", "more"),
    [
        ("index.target_recall=0.9", {}),
        ("index.min_recall=0.5", {"index.min_recall": "0.5"}),
        ("++trainer.refit=false", {"trainer.refit": False}),
        ("+experiment=movielens_1m", {"experiment": "movielens_1m"}),
        ("baselines=none", {"baselines": "none"}),
        ("~baselines.ease", {"baselines.ease": "(removed)"}),
        ("seed=7", {}),
        ("hydra.job.num=3", {}),
    ],
)
def test_overrides_are_shown(override: str, more: dict[str, Any]) -> None:
    assert hyperparameters(SETTINGS, [override]) == SHOWN | more


def test_a_job_of_a_sweep_shows_exactly_the_keys_that_vary() -> None:
    """In the words that were typed, also widths; what only some choices of a varied group have is text."""
    varied = ["user_tower.widths", "loss", "embedding_dim", "index", "index.nlist", "features", "seed"]
    typed = ["loss=psl", "features=ids", "trainer.max_epochs=3"]
    assert hyperparameters(SETTINGS, typed, varied) == {
        "user_tower.widths": "[128, 64]",
        "loss": "psl",
        "embedding_dim": 64,
        "index": "ivf_flat",
        "index.nlist": "-",
        "features": "ids",
    }
    with_cells = SETTINGS | {"index": SETTINGS["index"] | {"nlist": 8}}
    assert hyperparameters(with_cells, typed, ["index", "index.nlist"]) == {
        "index": "ivf_flat",
        "index.nlist": "8",
    }


def test_every_run_has_the_important_keys() -> None:
    """Else TensorBoard leaves it out of the coordinates where another run typed them."""
    exact = SETTINGS | {"index": {"_target_": "twotower.index.kinds.flat_ip.FlatIP"}}
    assert hyperparameters(exact, []) == SHOWN | {"index": "flat_ip", "index.target_recall": "1.0"}
    quantized = {"_target_": "twotower.index.kinds.ivf_pq.IVFPQ", "num_subquantizers": 8}
    found = hyperparameters(SETTINGS | {"index": quantized}, ["index.num_subquantizers=8"])
    assert (found["index.num_subquantizers"], found["index.target_recall"]) == ("8", "0.95")


def test_keys_that_sweeps_vary_are_shown_for_every_run() -> None:
    for path in CONF.glob("sweep/*.yaml"):
        sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts = " ".join(sweep.get("cases", [])).split()
        varied = {*sweep.get("vary", {}), *(text.partition("=")[0] for text in texts)}
        assert varied <= {*ALWAYS, *SOME_HAVE}, path.name


def test_only_seeds_and_folders_share_a_trial() -> None:
    trial = trial_id(SETTINGS)
    assert trial.split()[:-1] == ["synthetic", "ivf_flat", "64"]  # the loss does not fit
    assert trial_id(SETTINGS | {"seed": 1, "name": "other", "output_root": "/tmp"}) == trial
    for change in ({"embedding_dim": 65}, {"loss": SETTINGS["loss"] | {"temperature": 0.2}}):
        assert trial_id(SETTINGS | change) != trial


def test_a_trial_is_named_by_its_folder_without_time_and_seed() -> None:
    (one, other) = (trial_id(SETTINGS | {"seed": seed}, f"dim64,lr.01,seed{seed}") for seed in (1, 2))
    assert one == other
    assert one.split()[0] == "dim64,lr.01"
    assert trial_id(SETTINGS, "dim64,lr.01_2026-11-26_04-36-23-123456") == one
    assert trial_id(SETTINGS | {"embedding_dim": 65}, "dim64,lr.01") != one


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("", "synthetic ivf_flat 64"),
        ("dim64,lr.01", "dim64,lr.01"),
        ("widths[256,128],dim128,temp1.0,wd.01", "widths[256,128],dim128"),
        ("0012_dim128_lr.0107_ivf_sq", "0012_dim128_lr.0107_ivf_sq"),
        ("bce,uniform,flat_ip-1a2b3c4d", "bce,uniform,flat_ip"),
    ],
)
def test_a_trial_has_30_characters_at_most_and_whole_words(name: str, begin: str) -> None:
    trial = trial_id(SETTINGS, name)
    words, _, digits = trial.rpartition(" ")
    assert words == begin
    assert len(trial) <= 30
    assert len(digits) >= 3


RESULT = Result(
    **{
        "status": "ok",
        "metrics": {"valid/recall_at_20": 0.2, "test/recall_at_20": 0.4, "test/ndcg_at_10": 0.3},
        "index": {"recall_at_100": 0.9, "latency_ms_p50": 0.1, "latency_ms_p99": 0.2, "bytes_per_item": 64.0},
        "timing": {"total_seconds": 4.0, "train_seconds": 3.0},
        "cold_start": {"model": {"cold": {"recall_at_20": 0.5}}},
    }
)
COLD = {"cold_start/model/cold/recall_at_20": 0.5}
REST = {" index/recall_at_100": 0.9, " index/latency_ms_p50": 0.1, " index/bytes_per_item": 64.0}


@pytest.mark.parametrize(
    ("monitor", "best", "test"),
    [("valid/recall_at_20", 0.2, 0.4), ("valid/ndcg_at_10", 0.25, 0.3)],
)
def test_columns_are_the_same_whatever_is_monitored(monitor: str, best: float, test: float) -> None:
    metrics = RESULT.metrics | {"valid/ndcg_at_10": 0.25}
    result = RESULT.update(training={"monitor": monitor}, metrics=metrics)
    expected = {" test/monitor": test, " best_valid/monitor": best, **REST, " timing/total_seconds": 4.0}
    assert final_metrics(result) == expected | (COLD if monitor.endswith("_at_20") else {})
    assert sorted(expected)[0] == " best_valid/monitor"  # as TensorBoard sorts them


def test_columns_of_failed_and_pruned_runs() -> None:
    curves = {"valid/recall_at_20": [0.1, 0.3, 0.2]}
    pruned = Result(status="pruned", curves=curves, training=Training(monitor="valid/recall_at_20"))
    assert final_metrics(pruned) == {" best_valid/monitor": 0.3}
    assert final_metrics(Result(status="failed", error="no")) == {}
