"""The importance of features in whole runs: no other figure changes, and runs of equal towers share it."""

import json
from pathlib import Path
from typing import Any

from quick import QUICK

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import checked
from twotower.pipeline.run_config import RunConfig
from twotower.pipeline.train_run import train

TINY = [
    "data=synthetic",
    "data.num_users=80",
    "data.num_items=60",
    "data.num_interactions=1600",
    "objective.epoch_requests=512",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    "user_tower.widths=[8]",
    "item_tower.widths=[]",
    *QUICK,
    "index=flat_ip",
]


def result_of(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    settings = checked("train", [*TINY, f"output_root={root}", *overrides])
    settings = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    assert train(RunConfig.composed(settings), root / "default" / name) == 0
    return dict(json.loads((root / "default" / name / "result.json").read_text()))


def test_it_changes_nothing_else_and_is_reused_with_the_towers(tmp_path: Path) -> None:
    off = result_of(tmp_path, "off", "metrics.importance_repeats=0", "reuse=false")
    on = result_of(tmp_path, "on", "reuse=false")
    assert on["metrics"] == off["metrics"]
    assert on["curves"] == off["curves"]
    assert "feature_importance" not in off
    found = on["feature_importance"]
    assert found["values"]["all"] == on["metrics"]["valid/recall_at_20"]
    assert found["num_users"]["all"] == on["evaluated"]["valid"]["users"]
    names = {
        "user.segment",
        "history",
        *(f"item.{name}" for name in ("item_id", "category", "tags", "title")),
    }
    assert found["drops"].keys() == names | {"item.price", "item.vector"}
    assert "feature importance: 8 features" in (tmp_path / "default" / "on" / "train.log").read_text()
    index = result_of(tmp_path, "index", "index=ivf_flat", "index.min_recall=0.1")
    assert index["training_reused_from"] == str(tmp_path / "default" / "on")
    assert index["feature_importance"] == found
    again = result_of(tmp_path, "again", "metrics.importance_repeats=2")
    assert again["training_reused_from"]
    assert again["feature_importance"]["repeats"] == 2
    assert again["feature_importance"]["values"] == found["values"]
