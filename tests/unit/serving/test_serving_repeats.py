"""What a request that says nothing of seen items gets, as the bundle's data asks for."""

import json

import pytest
import tiny_bundle

from twotower.bundle.manifest import render
from twotower.serving.browser import Browser
from twotower.serving.requests import Request
from twotower.serving.retriever import Retriever


def opened(folder, **changed):
    tiny_bundle.write(folder)
    path = folder / "manifest.json"
    path.write_text(render(json.loads(path.read_text()) | changed))
    return Retriever.open(folder)


@pytest.mark.parametrize(("of_bundle", "default"), [({}, 57), ({"exclude_seen": False}, 60)])
def test_seen_items_are_left_out_unless_the_data_keeps_repeats(tmp_path, of_bundle, default):
    retriever = opened(tmp_path / "bundle", **of_bundle)

    def asked(**rules):
        return len(retriever.answer_one(Request("user-01", k=100, **rules)))

    assert asked() == default
    assert (asked(exclude_seen=True), asked(exclude_seen=False)) == (57, 60)


def test_places_are_not_shown_as_times(tmp_path):
    retriever = opened(tmp_path / "bundle", has_times=False)
    retriever.add_event("user-01", "item-050", tiny_bundle.NOW + 9)
    times = [each["time"] for each in Browser(retriever).user("user-01")["history"]]
    assert times == [tiny_bundle.NOW + 9, None, None, None]
