"""`latest` names the run that started last, or the newest run with a bundle."""

import os
from pathlib import Path

import pytest

from twotower.bundle.layout import MANIFEST
from twotower.config.errors import InputError
from twotower.runs.run_files import CONFIG, resolve_latest


def make_run(folder: Path, started: int, bundle: bool = False) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    if bundle:
        (folder / "bundle").mkdir()
        (folder / "bundle" / CONFIG).write_text("{}")  # a bundle has a config.yaml of its own, and is no run
        (folder / "bundle" / MANIFEST).write_text("{}")
    os.utime(folder / CONFIG, (started, started))
    return folder


def test_latest_is_the_run_that_started_last_in_any_subfolder(tmp_path: Path) -> None:
    old = make_run(tmp_path / "shop" / "z", 1, bundle=True)
    new = make_run(tmp_path / "default" / "sweep" / "dim32", 3)
    make_run(tmp_path / ".cache" / "hidden", 9)
    make_run(tmp_path / "default" / "a", 2)
    assert resolve_latest("latest", tmp_path, with_bundle=False) == str(new)
    assert resolve_latest("latest", tmp_path, with_bundle=True) == str(old)
    assert resolve_latest(f"{tmp_path}/shop/latest", Path("elsewhere"), with_bundle=False) == str(old)


def test_an_existing_folder_and_other_text_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    for text in (f"{tmp_path}/latest", "outputs/shop/one", "my-latest", ""):
        assert resolve_latest(text, tmp_path / "none", with_bundle=True) == text


@pytest.mark.parametrize(
    ("with_bundle", "words"),
    [(True, "there is no run with a bundle below"), (False, "there is no run below")],
)
def test_without_a_run_the_message_names_the_folder(tmp_path: Path, with_bundle: bool, words: str) -> None:
    if with_bundle:
        make_run(tmp_path / "one", 1)
    with pytest.raises(InputError) as error:
        resolve_latest("latest", tmp_path, with_bundle)
    assert f"{words} {tmp_path}; twotower train makes one" in str(error.value)
