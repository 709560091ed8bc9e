"""What differs between two bundles, by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle

from twotower.bundle.read import Bundle, read_bundle
from twotower.serving.bundle_differences import differences

SETTINGS: dict[str, Any] = {
    "loss": {"_target_": "twotower.losses.bpr.Bpr", "temperature": 1.0},
    "data": {"interactions_path": "/srv/logs/monday.csv"},
    "output_root": "/home/anna/outputs",
    "trainer": {"widths": [64, 32], "baselines": {}},
    "seed": 42,
}


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
