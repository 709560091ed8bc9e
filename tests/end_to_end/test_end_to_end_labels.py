"""Click labels from the command to `result.json`: shown negatives train, and metrics of labels are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from in_process import run_script
from quick import POPULARITY_ONLY

DATA = (
    "data=synthetic",
    "data.labels=clicks",
    "data.num_users=150",
    "data.num_items=120",
    "data.num_interactions=6000",
    "features.item={item_id: {_target_: twotower.model.features.id.Id, column: item_id, dim: 8}}",
    "features.user={}",
    "metrics.ks=[5]",
    "metrics.num_bootstrap=100",
    "trainer=smoke",
    "trainer.max_epochs=2",
    "objective=next_item",
    "item_bias=popularity",
    "user_tower.widths=[16]",
    "objective.batch_size=256",
    "embedding_dim=16",
    "history.length=20",
    "index=flat_ip",
    *POPULARITY_ONLY,
    "reuse=false",
)
LABELS = {"auc", "gauc", "log_loss", "calibration"}


def trained(root: Path, name: str, *overrides: str) -> tuple[Path, dict[str, Any], str]:
    done = run_script("train", *DATA, f"output_root={root}", f"name={name}", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (root / name).iterdir()
    return folder, json.loads((folder / "result.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labels")


def test_labels_train_choose_the_epoch_and_are_measured(root: Path) -> None:
    folder, result, said = trained(
        *(root, "bce", "loss=bce", "negatives=impressions", "loss.learned_temperature=true"),
        *("trainer.monitor=valid/auc", "loss.temperature=0.9"),
    )
    metrics = result["metrics"]
    for split in ("valid", "test"):
        assert {f"{split}/{name}" for name in LABELS} <= metrics.keys() & result["intervals"].keys()
        low, high = result["intervals"][f"{split}/auc"]
        assert 0 <= low <= metrics[f"{split}/auc"] <= high
        assert result["evaluated"][split]["labelled"] > result["evaluated"][split]["targets"]
    assert metrics["valid/auc"] == pytest.approx(max(result["curves"]["valid/auc"]), abs=1e-6)
    assert result["training"]["monitor"] == "valid/auc"
    assert result["training"]["temperature"] != pytest.approx(0.9, abs=1e-4)  # it was trained
    ways = result["higher_is_better"]
    assert (ways["auc"], ways["log_loss"], ways["calibration"]) == (True, False, None)
    assert "auc 0." in said
    assert "log_loss" in said
    # The same from the bundle, with the temperature that training ended with.
    again = run_script("evaluate", f"run={folder}")
    assert again.returncode == 0, again.stdout + again.stderr
    (beside,) = (each for each in folder.parent.iterdir() if each != folder)
    repeated = json.loads((beside / "result.json").read_text())
    assert {key: repeated["metrics"][key] for key in metrics} == metrics
    assert repeated["intervals"] == result["intervals"]
    compared = run_script("compare", str(root / "bce"), "metric=auc", "json=-")
    assert compared.returncode == 0, compared.stderr
    rows = json.loads(compared.stdout)["rows"]
    assert [row["test/auc"] for row in rows] == [metrics["test/auc"]] * 2


def test_a_softmax_ranks_against_shown_negatives_and_the_batch(root: Path) -> None:
    _, result, said = trained(
        root, "softmax", "negatives=impressions_and_in_batch", "trainer.monitor=valid/recall_at_5"
    )
    measured = {key.partition("/")[2] for key in (*result["metrics"], *result["curves"])}
    assert measured & LABELS == {"auc", "gauc"}  # a softmax trains no probabilities
    assert "log_loss" not in said
    assert "log_loss" not in result["higher_is_better"]
    assert {key.removeprefix("valid/") for key in result["curves"]} >= {"recall_at_5", "auc"}


def test_without_labels_nothing_of_them_is_reported(root: Path) -> None:
    _, result, said = trained(
        root, "none", "data.labels=none", "negatives=in_batch", "trainer.monitor=valid/recall_at_5"
    )
    assert not [key for key in result["metrics"] if key.partition("/")[2] in LABELS]
    assert "labelled" not in result["evaluated"]["test"]
    assert "log_loss" not in said
