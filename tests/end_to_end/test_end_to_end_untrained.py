"""A run whose start no epoch betters: what it keeps and serves."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import run_script
from numpy.typing import NDArray
from quick import POPULARITY_ONLY

from twotower.bundle.read import read_bundle
from twotower.data.interactions import Interactions
from twotower.training.checkpoints import FINAL, read_checkpoint
from twotower.training.initialization.svd import Svd
from twotower.training.selection import probe

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective.epoch_requests=1024",
    "trainer.max_epochs=2",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    "user_tower.widths=null",
    "item_tower.widths=null",
    *POPULARITY_ONLY,
    "trainer.probe_steps=1",
    "console=quiet",
    "reuse=false",
    "name=t",
]
TOO_FAST = "optimizer.learning_rate=5"


def run(root: Path, *typed: str) -> tuple[Path, dict[str, Any]]:
    """Train; returns the folder and what its result says."""
    known = set(root.glob("t/*/result.json"))
    done = run_script("train", *TINY, *typed, f"output_root={root}")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = set(root.glob("t/*/result.json")) - known
    return path.parent, dict(json.loads(path.read_text()))


@pytest.mark.slow
def test_the_start_is_fitted_again_and_served(tmp_path: Path) -> None:
    folder, result = run(tmp_path, TOO_FAST)
    assert result["status"] == "ok"
    assert (result["training"]["epochs"], result["training"]["refit"]) == (0, True)
    assert result["index"]["ok"] is True
    untrained = result["metrics"]["valid/recall_at_20"]
    assert max(result["curves"]["valid/recall_at_20"]) < untrained
    log = (folder / "train.log").read_text()
    assert "WARNING twotower: no training improved on the embeddings of initialization=svd by 1 " in log
    scores = result["training"]["initialization_scores"]
    assert result["training"]["initialization"] == "svd"
    assert scores["svd"] == pytest.approx(untrained, abs=1e-6)
    assert scores["svd"] > scores["random"]
    assert (
        f"valid/recall_at_20 {untrained:.4f} with initialization=svd, {scores['random']:.4f} with "
        "initialization=random" in log
    )
    chosen = result["training"]["chosen"]
    assert set(chosen) == {
        *("objective.recency_half_life_days", "objective.horizon_days", "item_bias.ahead_days"),
        "initialization.score_scale",
    }
    assert chosen["objective.horizon_days"] == chosen["item_bias.ahead_days"]
    assert f"initialization.score_scale={chosen['initialization.score_scale']:.3g} (validation score" in log
    fitted_again = read_checkpoint(folder / "checkpoints" / "refit" / FINAL)["state_dict"]
    first = read_checkpoint(folder / "checkpoints" / "fit" / FINAL)["state_dict"]
    table = next(key for key in first if "item_id" in key and first[key].ndim == 2)
    assert not torch.equal(first[table], fitted_again[table])  # the start of train + valid is another one
    served = read_bundle(folder / "bundle").model.state_dict()
    assert torch.equal(served[table.removeprefix("model.")], fitted_again[table])


@pytest.mark.slow
@pytest.mark.parametrize("better", ["with", "without"])
def test_validation_decides_whether_the_towers_read_features(
    better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.BestEpoch, "exceeds", lambda *_: better == "with")
    auto = ("user_tower.widths=auto", "item_tower.widths=auto", "initialization=random")
    folder, result = run(tmp_path, *auto)
    chosen = result["training"]["chosen"].keys() & {"user_tower.widths", "item_tower.widths"}
    assert len(chosen) == (0 if better == "with" else 2)
    assert "after a short training: 0." in (folder / "train.log").read_text()
    layers = {
        name: bool(values.any())
        for name, values in read_bundle(folder / "bundle").model.state_dict().items()
        if "tower.layers" in name
    }
    assert len(layers) == 4
    assert all(trained == (better == "with") for trained in layers.values())
    if better == "without":
        _, alone = run(tmp_path, *auto, "trainer.probe_steps=0")
        assert alone["metrics"] != result["metrics"]
        (folder / "result.json").unlink()
        assert run_script("train", f"resume={folder}").returncode == 0
        again = json.loads((folder / "result.json").read_text())
        assert [again[key] for key in ("metrics", "training")] == [
            result[key] for key in ("metrics", "training")
        ]


@pytest.mark.slow
def test_a_probe_chooses_rate_and_decay_and_is_not_repeated(tmp_path: Path) -> None:
    typed = ["optimizer.decay_to=initial", "optimizer.probe_rates=[5,0.001]", "optimizer.probe_decays=[0,3]"]
    folder, result = run(tmp_path, *typed)
    chosen, path = result["training"]["chosen"], folder / "checkpoints" / "probe.json"
    assert chosen["optimizer.learning_rate"] == 0.001
    assert json.loads(path.read_text()) == {
        key: chosen[key] for key in ("optimizer.learning_rate", "optimizer.weight_decay")
    }
    _, alone = run(
        tmp_path,
        "optimizer.decay_to=initial",
        "optimizer.learning_rate=0.001",
        f"optimizer.weight_decay={chosen['optimizer.weight_decay']}",
    )
    assert [alone[key] for key in ("metrics", "curves")] == [result[key] for key in ("metrics", "curves")]
    written = path.stat().st_mtime_ns
    shutil.rmtree(folder / "checkpoints" / "refit")
    (folder / "result.json").unlink()
    assert run_script("train", f"resume={folder}").returncode == 0
    again = json.loads((folder / "result.json").read_text())
    assert again["training"]["chosen"] == chosen
    assert again["metrics"] == result["metrics"]
    assert path.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_random_start_is_no_candidate(tmp_path: Path) -> None:
    _, result = run(tmp_path, TOO_FAST, "initialization=random", "objective.recency_half_life_days=9")
    assert result["training"]["epochs"] >= 1
    assert set(result["training"]["chosen"]) == {"objective.horizon_days", "item_bias.ahead_days"}


def scattered(self: Svd, interactions: Interactions, num_items: int, dim: int) -> NDArray[np.float32]:
    """Return embeddings that say nothing of the items, and are too long to be trained further."""
    return np.random.default_rng(0).standard_normal((num_items, dim)).astype(np.float32)


@pytest.mark.slow
def test_random_embeddings_are_used_where_they_train_to_better_towers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Svd, "embeddings", scattered)
    typed = ["initialization.score_scale=1e6", "trainer.refit=false"]
    folder, result = run(tmp_path, *typed)
    training, log = result["training"], (folder / "train.log").read_text()
    assert training["initialization"] == "random"
    assert training["initialization_scores"]["random"] > training["initialization_scores"]["svd"]
    assert (
        "WARNING twotower: the better initialization on the validation split is used, initialization=random: "
        "valid/recall_at_20" in log
    )
    alone, alone_result = run(tmp_path, "initialization=random", "trainer.refit=false")
    assert [alone_result[key] for key in ("metrics", "curves")] == [
        result[key] for key in ("metrics", "curves")
    ]
    assert "initialization" not in alone_result["training"]
    for name in ("towers.safetensors", "item_embeddings.npy"):
        assert (folder / "bundle" / name).read_bytes() == (alone / "bundle" / name).read_bytes()

    (folder / "result.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "fit_random")  # as if killed before the second training
    assert run_script("train", f"resume={folder}").returncode == 0
    again = json.loads((folder / "result.json").read_text())
    assert [again[key] for key in ("metrics", "curves")] == [result[key] for key in ("metrics", "curves")]
    assert again["training"] == training
    _, shared = run(tmp_path, *typed, "reuse=true", "index=flat_ip")
    assert shared["training_reused_from"] == str(folder)
    assert [shared[key] for key in ("metrics", "training")] == [
        result[key] for key in ("metrics", "training")
    ]
