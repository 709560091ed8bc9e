"""A boost of new items that validation selects: in the result, the refit, the bundle and reused runs."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tiny_runs import result_of

NEW_ITEMS = ("split=item_cold", "metrics.importance_repeats=0")


def test_the_selected_boost_is_reported_served_and_reused(tmp_path: Path) -> None:
    typed = [*NEW_ITEMS, "new_items.max_known_loss=0.1"]
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
