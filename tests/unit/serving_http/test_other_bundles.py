"""The bundles beside the one that is served: which there are, and which are opened."""

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twotower.config.errors import InputError
from twotower.serving.http.other_bundles import OtherBundles
from twotower.serving.retriever import Retriever

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))

import tiny_bundle


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "runs"
    tiny_bundle.write(folder / "first" / "bundle")
    shutil.copytree(folder / "first", folder / "second")
    return folder


@pytest.fixture
def others(root: Path) -> OtherBundles:
    served = SimpleNamespace(bundle=SimpleNamespace(folder=root / "first" / "bundle"))
    return OtherBundles(SimpleNamespace(root=root, retriever=served, trusted_packages=()))  # type: ignore[arg-type]


def test_a_link_to_what_is_served_is_no_other_and_none_leads_out_of_the_root(
    root: Path, others: OtherBundles
) -> None:
    outside = root.parent / "outside"
    shutil.copytree(root / "second", outside)
    links = {"current": root / "first", "latest": root / "second", "out": outside, "round": root / "round"}
    for name, aim in links.items():
        (root / name).symlink_to(aim)
    (root / "half").mkdir()
    (root / "half" / "bundle").symlink_to(outside / "bundle")
    assert others.folders() == {"second": root / "second" / "bundle"}
    second = others.get("second")
    assert second.version.startswith("second-")
    for name in (*links, "half", "..", "../outside", str(outside)):
        with pytest.raises(InputError, match="is no other bundle"):
            others.get(name)


def test_the_newest_comes_first_whatever_it_is_called(root: Path, others: OtherBundles) -> None:
    for name, second in (("another", 3), ("zoo", 2)):
        shutil.copytree(root / "second", root / name)
        os.utime(root / name / "bundle" / "manifest.json", (second, second))
    os.utime(root / "second" / "bundle" / "manifest.json", (1, 1))
    assert list(others.folders()) == ["another", "zoo", "second"]


def test_a_damaged_bundle_is_named_without_the_place_of_the_root(root: Path, others: OtherBundles) -> None:
    next((root / "second" / "bundle").glob("*.npy")).write_bytes(b"not what the manifest says")
    with pytest.raises(InputError, match="second/bundle") as told:
        others.get("second")
    assert str(root) not in str(told.value)


def test_the_last_two_stay_open(root: Path, others: OtherBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def read(folder: Path, trusted_packages: tuple[str, ...]) -> Any:
        opened.append(folder.name)
        return folder

    folders = {name: root / name for name in "abc"}
    monkeypatch.setattr(others, "folders", lambda: folders)
    monkeypatch.setattr(Retriever, "open", read)
    assert [others.get(name) for name in "ababca"] == [folders[name] for name in "ababca"]
    assert opened == ["a", "b", "c", "a"]
