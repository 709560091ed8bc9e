"""`latest` names the run that started last, or the newest run with a bundle."""

import json
import os
from pathlib import Path

import pytest

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.experiments.runs.run_files import CONFIG, GATE, RESULT, Needs, resolve_latest


def make_run(folder: Path, started: int, bundle: bool = False, is_accepted: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    if bundle:
        (folder / "bundle").mkdir()
        (folder / "bundle" / CONFIG).write_text("{}")  # a bundle has a config.yaml of its own, and is no run
        manifest = {"index": {"report": {"ok": is_accepted}}}
        (folder / "bundle" / MANIFEST).write_text(json.dumps(manifest))
    os.utime(folder / CONFIG, (started, started))
    return folder


def test_latest_is_the_run_that_started_last_in_any_subfolder(tmp_path: Path) -> None:
    old = make_run(tmp_path / "shop" / "z", 1, bundle=True)
    new = make_run(tmp_path / "default" / "sweep" / "dim32", 3)
    make_run(tmp_path / ".cache" / "hidden", 9)
    make_run(tmp_path / "default" / "a", 2)
    assert resolve_latest("latest", tmp_path, "run") == str(new)
    assert resolve_latest("latest", tmp_path, "bundle") == str(old)
    assert resolve_latest(f"{tmp_path}/shop/latest", Path("elsewhere"), "run") == str(old)


def test_latest_to_serve_has_an_accepted_index_and_latest_to_read_has_ended(tmp_path: Path) -> None:
    good = make_run(tmp_path / "shop" / "good", 1, bundle=True)
    (good / RESULT).write_text("{}")
    make_run(tmp_path / "shop" / "rejected", 2, bundle=True, is_accepted=False)
    damaged = make_run(tmp_path / "shop" / "damaged", 3, bundle=True)
    (damaged / "bundle" / MANIFEST).write_text("{")
    refused = make_run(tmp_path / "shop" / "refused", 4, bundle=True)
    (refused / GATE).write_text('{"passed": false}')
    make_run(tmp_path / "shop" / ".rebuilt.0123", 9, bundle=True)  # what only the gate uses
    running = make_run(tmp_path / "shop" / "running", 5)
    assert resolve_latest("latest", tmp_path, "bundle") == str(good)
    assert resolve_latest("latest", tmp_path, "result") == str(good)
    assert resolve_latest("latest", tmp_path, "run") == str(running)
    (refused / GATE).write_text('{"passed": true}')
    assert resolve_latest("latest", tmp_path, "bundle") == str(refused)


def test_an_existing_folder_and_other_text_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    for text in (f"{tmp_path}/latest", "outputs/shop/one", "my-latest", ""):
        assert resolve_latest(text, tmp_path / "none", "bundle") == text


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ("bundle", "there is no run with a bundle to serve below"),
        ("result", "there is no ended run below"),
        ("run", "there is no run below"),
    ],
)
def test_without_a_run_the_message_names_the_folder(tmp_path: Path, needs: Needs, words: str) -> None:
    if needs != "run":
        make_run(tmp_path / "one", 1)
    with pytest.raises(InputError) as error:
        resolve_latest("latest", tmp_path, needs)
    assert f"{words} {tmp_path}; twotower train makes one" in str(error.value)
