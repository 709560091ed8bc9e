"""Nothing acknowledged is lost in silence when somebody hurts the store, and what looks for that finds it.

`scripts/bench/store_faults.py` does the same to the service itself, over HTTP.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "scripts" / "bench"), str(ROOT / "tests" / "unit" / "bundle")]

import tiny_bundle  # noqa: E402
from kills_clients import Gone  # noqa: E402
from store_faults import faults  # noqa: E402
from store_hurts import HURTS, HurtInside  # noqa: E402

SOME = (  # what needs a process of its own; the rest is in test_serving_store_faults.py
    "deleted while it runs",
    "replaced by another while it runs",
    "no room on the disk",
    "a second service by a symlink",
    "a bit of the log",
)


@pytest.mark.slow
def test_a_store_that_is_hurt_loses_nothing_in_silence(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="tower")
    (tmp_path / "store").mkdir()
    service = HurtInside(tmp_path / "bundle", (tmp_path / "store" / "live.db").resolve())
    try:
        hurts = {name: HURTS[name] for name in SOME}
        figures = faults(service, num_faults=len(hurts), seed=0, hurts=hurts)
    finally:
        service.close()
    assert figures["violations"] == []
    assert (figures["faults"], figures["refused"], figures["all was there"]) == (5, 3, 2)
    assert figures["not acknowledged"] >= 20  # ten each time that the files are not what they were


class Believing:
    """A service that reads its store when it starts and notices nothing else, or one that says nothing."""

    def __init__(self, folder, says):
        self.store, self.says = folder / "store" / "live.db", says
        self.store.parent.mkdir()
        self.items, self.running = None, False

    def start(self):
        if self.store.exists() and not self.store.read_bytes().endswith(b"end"):
            self.store.unlink()
        if not self.store.exists():
            self.store.write_bytes(b"end")
        self.items = dict(
            line.split("=") for line in self.store.read_text().splitlines() if line.startswith("new")
        )
        self.running = True
        return 0.01

    def kill(self):
        self.running = False

    def connect(self):
        return self

    def put(self, item_id, label):
        if not self.running:
            raise Gone
        self.items[item_id] = label
        if self.store.exists():
            lines = [f"{item}={label}\n" for item, label in self.items.items()]
            self.store.write_text("".join(lines) + "end")

    def remove(self, item_id):
        del self.items[item_id]
        self.put("new 0", "label")

    def offered(self, user_id):
        return self.items

    def item_id(self, number):
        return f"new {number}"

    def told(self):
        return self.says

    def process_id(self):
        return os.getpid()


@pytest.mark.parametrize(
    ("says", "lost"), [("", "lost"), ("3 frames of its write-ahead log do not check out", "told")]
)
def test_a_service_that_says_nothing_is_found_out(tmp_path, says, lost):
    figures = faults(Believing(tmp_path, says), num_faults=1, seed=0)  # deleted while it runs
    assert figures[lost] == 1
    assert bool(figures["violations"]) == (not says)
    assert all("deleted while it runs: item 'new" in each for each in figures["violations"])
