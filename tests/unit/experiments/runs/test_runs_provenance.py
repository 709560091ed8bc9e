"""Which code, libraries and machine made a run: what changes is seen, what does not matter is not."""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from twotower.experiments.runs import provenance as module
from twotower.experiments.runs.provenance import (
    EVALUATION,
    EXCLUDED_FROM_TRAINING,
    TRAINING,
    evaluation_fingerprint,
    package_fingerprint,
    peak_rss_bytes,
    provenance,
    training_fingerprint,
    versions,
)
from twotower.files import code
from twotower.files.code import code_digests

OWN = "my_losses_of_a_test"
OWN_LOSS = {"loss": {"_target_": f"{OWN}.Mine"}}
SHAPING = {"loss": {"_target_": "twotower.model.losses.bce.Bce"}}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the place of ours."""
    place = tmp_path / "twotower"
    place.mkdir()
    (place / "spec.py").write_text("c = 1\n")
    monkeypatch.setattr(module, "PACKAGE", place)
    return place


def own_package(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Write the user's own module, and look at it as a new process would."""
    monkeypatch.syspath_prepend(str(folder))
    (folder / f"{OWN}.py").write_text(text)
    code._source.cache_clear()
    code._syntax.cache_clear()


def test_the_training_fingerprint_covers_the_code_that_trains() -> None:
    found = code_digests([TRAINING], excluded=EXCLUDED_FROM_TRAINING)
    packages = {".".join(name.split(".")[1:-1]) for name in found if name.startswith("twotower.")}
    model = {f"model.{name}" for name in ("features", "towers", "negatives", "losses")}
    assert packages >= {"data", "training", "evaluation", "evaluation.metrics", *model}
    assert not {name.partition(".")[0] for name in packages} & {"index", "serving", "experiments", "bundle"}
    assert not [name for name in found if name.startswith("twotower.evaluation.baselines")]
    assert found.keys() >= {"torch", "pytorch_lightning", "numpy"}


def test_the_evaluation_fingerprint_covers_baselines() -> None:
    assert {"twotower.evaluation.baselines.baseline_runner", "twotower.evaluation.ranking"} <= code_digests(
        EVALUATION
    ).keys()


def test_settings_and_data_change_the_training_fingerprint() -> None:
    before = training_fingerprint(SHAPING, "data")
    assert training_fingerprint(dict(SHAPING), "data") == before
    others = [
        training_fingerprint({**SHAPING, "embedding_dim": 3}, "data"),
        training_fingerprint(SHAPING, "other data"),
        training_fingerprint({"deep": SHAPING}, "data"),
    ]
    assert len({before, *others}) == 4


def test_user_classes_are_fingerprinted_by_their_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_package(tmp_path, monkeypatch, "class Mine:\n    pass\n")
    towers, figures = (
        training_fingerprint(OWN_LOSS, "data"),
        evaluation_fingerprint({"metrics": {"kinds": OWN_LOSS}, "baselines": {}, "new_items": {}}),
    )
    own_package(tmp_path, monkeypatch, "# mine\nclass Mine:\n    pass\n")
    assert training_fingerprint(OWN_LOSS, "data") == towers
    own_package(tmp_path, monkeypatch, "class Mine:\n    x = 1\n")
    assert training_fingerprint(OWN_LOSS, "data") != towers
    assert (
        evaluation_fingerprint({"metrics": {"kinds": OWN_LOSS}, "baselines": {}, "new_items": {}}) != figures
    )


def test_another_metric_or_baseline_changes_the_evaluation_fingerprint() -> None:
    recall = {"kinds": {"recall": {"_target_": "twotower.evaluation.metrics.recall.Recall"}}}
    before = evaluation_fingerprint({"metrics": recall, "baselines": {}, "new_items": {}, "index": 1})
    assert evaluation_fingerprint({"metrics": recall, "baselines": {}, "new_items": {}, "index": 2}) == before
    assert (
        evaluation_fingerprint({"metrics": {**recall, "ks": [3]}, "baselines": {}, "new_items": {}}) != before
    )
    assert evaluation_fingerprint({"metrics": recall, "baselines": {"ease": {}}, "new_items": {}}) != before


def test_provenance_has_the_commit_and_uncommitted_changes(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        pytest.skip("no git here")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(package.parent))
    assert module._commit() == {"commit": None, "dirty": None}  # no checkout yet
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(package), *who, *command], check=True)
    clean = module._commit()
    assert re.fullmatch("[0-9a-f]{40}", str(clean["commit"]))
    assert clean["dirty"] is False
    (package / "spec.py").write_text("c = 3\n")
    assert module._commit() == {"commit": clean["commit"], "dirty": True}
    monkeypatch.setenv("PATH", "/nowhere")
    assert module._commit() == {"commit": None, "dirty": None}


def test_the_provenance_has_code_versions_and_machine() -> None:
    found = provenance()
    assert found["code"].keys() == {"fingerprint", "commit", "dirty"}
    assert found["code"]["fingerprint"] == package_fingerprint()
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["machine"]["cpu"]
    assert versions()["torch"] == importlib.metadata.version("torch")
    assert versions().keys() >= {"python", "faiss-cpu", "numpy"}
    assert peak_rss_bytes() > 10 * 2**20  # bytes, not kilobytes: torch alone is more
