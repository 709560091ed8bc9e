"""A run whose start no epoch betters: what it keeps and serves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import run_script
from quick import POPULARITY_ONLY

from twotower.bundle.read import read_bundle
from twotower.training.checkpoints import FINAL, read_checkpoint
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


def table_of(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the item embeddings among some weights."""
    return next(values for key, values in weights.items() if "item_id" in key and values.ndim == 2)


@pytest.mark.slow
def test_the_start_is_fitted_again_and_served(tmp_path: Path) -> None:
    folder, result = run(tmp_path, TOO_FAST)
    assert result["status"] == "ok"
    assert (result["training"]["epochs"], result["training"]["refit"]) == (0, True)
    assert result["index"]["ok"] is True
    untrained = result["metrics"]["valid/recall_at_20"]
    assert max(result["curves"]["valid/recall_at_20"]) < untrained
    log = (folder / "train.log").read_text()
    assert f"initial embeddings: valid/recall_at_20 {untrained:.4f}" in log
    assert "trainer.initial_share=1 (valid/recall_at_20: 0." in log
    chosen = result["training"]["chosen"]
    assert set(chosen) == {
        *("objective.recency_half_life_days", "objective.horizon_days", "item_bias.ahead_days"),
        *("initialization.score_scale", "trainer.initial_share"),
    }
    assert chosen["trainer.initial_share"] == 1.0
    assert chosen["objective.horizon_days"] == chosen["item_bias.ahead_days"]
    assert f"initialization.score_scale={chosen['initialization.score_scale']:.3g} (validation score" in log
    fitted_again, first = (
        table_of(read_checkpoint(folder / "checkpoints" / phase / FINAL)["state_dict"])
        for phase in ("refit", "fit")
    )
    assert not torch.equal(first, fitted_again)  # the start of train + valid is another one
    assert torch.equal(table_of(read_bundle(folder / "bundle").model.state_dict()), fitted_again)
    _, untrained_result = run(tmp_path, "trainer.initial_share=1")
    assert untrained_result["metrics"] == result["metrics"]
    assert "valid/recall_at_20" not in untrained_result["curves"]


@pytest.mark.slow
def test_a_share_of_the_start_is_kept_in_both_phases(tmp_path: Path) -> None:
    def tables(share: float) -> list[torch.Tensor]:
        folder, result = run(tmp_path, f"trainer.initial_share={share}", "trainer.max_epochs=1")
        assert "trainer.initial_share" not in result["training"]["chosen"]
        assert not [*folder.glob("checkpoints/*/initial.ckpt")]
        checkpoints = folder / "checkpoints"
        return [
            table_of(read_checkpoint(checkpoints / phase / FINAL)["state_dict"]) for phase in ("fit", "refit")
        ]

    for trained, half, initial in zip(tables(0), tables(0.5), tables(1), strict=True):
        assert not torch.allclose(trained, initial, atol=1e-3)
        torch.testing.assert_close(half, (trained + initial) / 2)


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
def test_a_random_start_is_no_candidate(tmp_path: Path) -> None:
    _, result = run(tmp_path, TOO_FAST, "initialization=random", "objective.recency_half_life_days=9")
    assert result["training"]["epochs"] >= 1
    assert set(result["training"]["chosen"]) == {"objective.horizon_days", "item_bias.ahead_days"}
