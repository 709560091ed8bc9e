"""A run whose start no epoch betters: what it keeps and serves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import run_script

from twotower.bundle.read import read_bundle
from twotower.training.callbacks.checkpointing import FINAL
from twotower.training.checkpoints import read_checkpoint

TINY = [
    "data=synthetic",
    "data.num_users=300",
    "data.num_items=120",
    "data.num_interactions=5000",
    "objective.epoch_requests=1024",
    "trainer.max_epochs=2",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
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
    warning = "WARNING twotower: no epoch improved on the initial embeddings, which are used, with "
    assert f"{warning}valid/recall_at_20 {untrained:.4f}" in log
    chosen = result["training"]["chosen"]
    assert set(chosen) == {"objective.recency_half_life_days", "initialization.score_scale"}
    assert f"initialization.score_scale={chosen['initialization.score_scale']:.3g} (validation score" in log
    fitted_again = read_checkpoint(folder / "checkpoints" / "refit" / FINAL)["state_dict"]
    first = read_checkpoint(folder / "checkpoints" / "fit" / FINAL)["state_dict"]
    table = next(key for key in first if "item_id" in key and first[key].ndim == 2)
    assert not torch.equal(first[table], fitted_again[table])  # the start of train + valid is another one
    served = read_bundle(folder / "bundle").model.state_dict()
    assert torch.equal(served[table.removeprefix("model.")], fitted_again[table])


@pytest.mark.slow
def test_a_random_start_is_no_candidate(tmp_path: Path) -> None:
    _, result = run(tmp_path, TOO_FAST, "initialization=random", "objective.recency_half_life_days=9")
    assert result["training"]["epochs"] >= 1
    assert result["training"]["chosen"] == {}
