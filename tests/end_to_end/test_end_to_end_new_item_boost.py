"""A boost of new items that validation selects: in the result, the refit, the bundle and reused runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from quick import QUICK
from safetensors.numpy import load_file

from twotower.commands.command_keys import SWEEP_ONLY
from twotower.commands.compose import checked
from twotower.pipeline.run_config import RunConfig
from twotower.pipeline.train_run import train

TINY = [
    "data=synthetic",
    "data.num_users=80",
    "data.num_items=60",
    "data.num_interactions=1600",
    "split=item_cold",
    "objective.epoch_requests=512",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "metrics.num_bootstrap=0",
    "metrics.ks=[10,20]",
    "metrics.importance_repeats=0",
    *QUICK,
    "index=flat_ip",
]


def result_of(root: Path, name: str, *overrides: str) -> dict[str, Any]:
    settings = checked("train", [*TINY, f"output_root={root}", *overrides])
    settings = {key: value for key, value in settings.items() if key not in SWEEP_ONLY}
    assert train(RunConfig.composed(settings), root / "default" / name) == 0
    return dict(json.loads((root / "default" / name / "result.json").read_text()))


@pytest.mark.parametrize("refit", ["true", "false"])
def test_the_selected_boost_is_reported_served_and_reused(tmp_path: Path, refit: str) -> None:
    typed = ["new_items.max_known_loss=0.1", f"trainer.refit={refit}"]
    found = result_of(tmp_path, "selected", *typed)
    curve, boost = found["new_items"], found["training"]["chosen"]["new_items.boost"]
    assert curve["boost"] == boost
    assert boost not in (-10, 0.2, 3)
    (own,) = (each for each in curve["curve"] if each["boost"] == boost)
    assert own["known"] >= 0.9 * curve["without"]["known"]
    assert own["all"] == pytest.approx(found["metrics"][f"valid/{curve['metric']}"])
    assert "new_items.boost=" in (tmp_path / "default" / "selected" / "train.log").read_text()
    index = result_of(tmp_path, "index", *typed, "index=ivf_flat", "index.min_recall=0.1")
    assert index["training_reused_from"] == str(tmp_path / "default" / "selected")
    assert (index["new_items"], index["training"]["chosen"]) == (curve, found["training"]["chosen"])
    for name in ("selected", "index"):
        weights = load_file(tmp_path / "default" / name / "bundle" / "towers.safetensors")
        assert weights["new_items.boost"] == pytest.approx(boost)


def test_without_new_items_no_boost_is_selected(tmp_path: Path) -> None:
    found = result_of(tmp_path, "none", "split=leave_one_out", "new_items.max_known_loss=0.1")
    assert "new_items.boost" not in found["training"]["chosen"]
    assert "new_items" not in found
    assert any("new_items.max_known_loss" in warning for warning in found["warnings"])
