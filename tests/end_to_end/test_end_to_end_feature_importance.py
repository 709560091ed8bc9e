"""The importance of features in whole runs: no other figure changes, and runs of equal towers share it."""

from pathlib import Path

from tiny_runs import result_of

READ_ALL = ("user_tower.widths=[8]", "item_tower.widths=[]", "metrics.importance_repeats=5")


def test_it_changes_nothing_else_and_is_reused_with_the_towers(tmp_path: Path) -> None:
    off = result_of(tmp_path, "off", *READ_ALL, "metrics.importance_repeats=0", "reuse=false")
    on = result_of(tmp_path, "on", *READ_ALL, "reuse=false")
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
    index = result_of(tmp_path, "index", *READ_ALL, "index=ivf_flat", "index.min_recall=0.1")
    assert index["training_reused_from"] == str(tmp_path / "default" / "on")
    assert index["feature_importance"] == found
    again = result_of(tmp_path, "again", *READ_ALL, "metrics.importance_repeats=2")
    assert again["training_reused_from"]
    assert again["feature_importance"]["repeats"] == 2
    assert again["feature_importance"]["values"] == found["values"]
