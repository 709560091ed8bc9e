"""Which code, libraries and machine made a run: what changes is seen, what does not matter is not."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from twotower.experiments import provenance as module
from twotower.experiments.provenance import (
    PACKAGE,
    TRAINING_LIBRARIES,
    TRAINING_ROOMS,
    code_fingerprint,
    machine,
    peak_rss_bytes,
    provenance,
    training_fingerprint,
    versions,
)

OWN = "my_losses_of_a_test"
OWN_LOSS = {"loss": {"_target_": f"{OWN}.Mine"}}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two rooms, one of which trains, in the place of ours."""
    place = tmp_path / "twotower"
    for name, text in {"losses/bce.py": "a = 1\n", "serving/app.py": "b = 1\n", "spec.py": "c = 1\n"}.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", place)
    code_fingerprint.cache_clear()
    yield place
    code_fingerprint.cache_clear()


def of_training(shaping: str = "{}", data: str = "data", settings: dict[str, object] | None = None) -> str:
    code_fingerprint.cache_clear()
    return training_fingerprint(shaping, data, settings or {})


def test_the_rooms_that_train_are_there() -> None:
    assert all((PACKAGE / room).exists() for room in TRAINING_ROOMS)
    for quiet in ("serving", "index", "experiments", "launchers", "sweeps"):
        assert quiet not in TRAINING_ROOMS


def test_code_that_trains_makes_other_towers_and_other_code_does_not(package: Path) -> None:
    before, whole = of_training(), code_fingerprint(("",))
    assert of_training() == before
    (package / "serving" / "app.py").write_text("b = 2\n")
    assert of_training() == before
    assert code_fingerprint(("",)) != whole  # though it is another twotower
    (package / "losses" / "bce.py").write_text("a = 2\n")
    changed = of_training()
    assert changed != before
    (package / "losses" / "bce.py").write_text("a = 1\n")
    assert of_training() == before  # the content counts, not when it was written
    (package / "losses" / "notes.txt").write_text("x")
    assert of_training() == before
    (package / "losses" / "bce.py").rename(package / "losses" / "other.py")
    assert of_training() not in (before, changed)


def test_a_single_file_is_a_room_too(package: Path) -> None:
    before = of_training()
    (package / "spec.py").write_text("c = 2\n")
    assert of_training() != before


def test_settings_data_and_libraries_make_other_towers(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of_training()
    assert len({before, of_training(shaping="[]"), of_training(data="other")}) == 3
    found = importlib.metadata.version
    for library in TRAINING_LIBRARIES:
        changed = {library: "0.0"}
        monkeypatch.setattr(importlib.metadata, "version", lambda name: changed.get(name) or found(name))  # noqa: B023
        assert of_training() != before
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found(name))
    assert of_training() == before


def test_classes_of_the_user_s_own_count_by_their_source(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / f"{OWN}.py"
    source.write_text("class Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = of_training(settings=OWN_LOSS)
    assert before != of_training()
    assert of_training(settings={"deep": OWN_LOSS, "again": OWN_LOSS}) == before  # each file once
    source.write_text("class Mine:\n    x = 1\n")
    assert of_training(settings=OWN_LOSS) != before
    monkeypatch.delitem(sys.modules, OWN)
    ours = {"loss": {"_target_": "twotower.losses.bce.Bce"}}
    assert of_training(settings=ours) == of_training()  # counted with its room already


def test_a_checkout_knows_its_commit_and_whether_files_changed(
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


def test_the_machine_is_the_processor_and_the_threads() -> None:
    assert machine()["threads"] == 1
    torch.set_num_threads(2)
    assert machine()["threads"] == 2
    assert machine()["cpu"]
    assert machine()["cores"] >= 1


def test_a_run_carries_all_of_it() -> None:
    found = provenance()
    assert found.keys() == {"code", "machine"}
    assert found["code"].keys() == {"fingerprint", "commit", "dirty"}
    assert found["code"]["fingerprint"] == code_fingerprint(("",))
    assert versions()["torch"] == importlib.metadata.version("torch")
    assert versions().keys() >= {"python", "faiss-cpu", *TRAINING_LIBRARIES}
    assert peak_rss_bytes() > 10 * 2**20  # bytes, not kilobytes: torch alone is more
