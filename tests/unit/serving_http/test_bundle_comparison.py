"""The bundles next to the served one, and their differences from it, by hand."""

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_bundle

from twotower.bundle.read import Bundle, read_bundle
from twotower.config.errors import InputError
from twotower.serving.http.bundle_comparison import OtherBundles, differences

SETTINGS: dict[str, Any] = {
    "loss": {"_target_": "twotower.losses.bpr.Bpr", "temperature": 1.0},
    "data": {"interactions_path": "/srv/logs/monday.csv"},
    "output_root": "/home/anna/outputs",
    "trainer": {"widths": [64, 32], "baselines": {}},
    "seed": 42,
}


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


def test_the_last_two_stay_open(root: Path, others: OtherBundles) -> None:
    for name in ("third", "fourth"):
        shutil.copytree(root / "second", root / name)
    second, third = others.get("second"), others.get("third")
    assert (others.get("second"), others.get("third")) == (second, third)
    others.get("fourth")
    assert others.get("second") is not second


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tiny_bundle.write(tmp_path / "bundle")
    return dataclasses.replace(read_bundle(tmp_path / "bundle"), settings=SETTINGS)


def test_a_bundle_does_not_differ_from_itself(bundle: Bundle) -> None:
    assert differences(bundle, bundle) == []


def test_settings_are_told_key_by_key_a_class_under_what_it_was_chosen_for(bundle: Bundle) -> None:
    changed = SETTINGS | {
        "loss": {"_target_": "mine.Own", "margin": 0.5},
        "data": {"interactions_path": "/other/logs/tuesday.csv"},
        "output_root": "/elsewhere",
        "trainer": {"widths": [64], "baselines": {}},
    }
    assert differences(bundle, dataclasses.replace(bundle, settings=changed)) == [
        {"name": "data.interactions_path", "ours": "monday.csv", "theirs": "tuesday.csv"},
        {"name": "loss", "ours": "twotower.losses.bpr.Bpr", "theirs": "mine.Own"},
        {"name": "loss.margin", "ours": None, "theirs": "0.5"},
        {"name": "loss.temperature", "ours": "1.0", "theirs": None},
        {"name": "trainer.widths", "ours": "[64, 32]", "theirs": "[64]"},
    ]


def test_what_bundles_hold_is_told_after_their_settings(bundle: Bundle, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "other", seed=2)
    other = read_bundle(tmp_path / "other")
    later = dataclasses.replace(other, settings=SETTINGS | {"seed": 43}, request_time=tiny_bundle.NOW + 60)
    found = differences(bundle, later)
    assert [each["name"] for each in found] == ["seed", "embeddings of items", "end of the data"]
    assert found[2] == {
        "name": "end of the data",
        "ours": "2020-09-13 12:26 UTC",
        "theirs": "2020-09-13 12:27 UTC",
    }
