"""Nothing acknowledged is lost, and what looks for losses finds them.

The process killed here is the service without HTTP, forked from one that has imported everything, so that
eight kills take seconds.
"""

import threading

import pytest
import tiny_bundle
from kills import ACTIONS, Gone, InsideService, rounds


@pytest.mark.slow
def test_eight_kills_lose_nothing_that_was_acknowledged(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="tower")
    service = InsideService(tmp_path / "bundle", tmp_path / "live.db")
    try:
        figures = rounds(service, num_kills=8, seed=3, most_load_seconds=0.1, least_acknowledged=40)
    finally:
        service.kill()
    assert figures["violations"] == []
    assert figures["kills"] == 8
    for action in ACTIONS:
        assert figures[f"acknowledged: {action}"] > 8
    assert (
        figures.get("under way and kept", 0) + figures.get("under way and absent", 0)
        <= figures["under way when killed"]
    )


class Forgetful:
    """A service that keeps all through a kill but the last change of one kind, or makes something up."""

    def __init__(self, fault):
        self.fault = fault
        self.items = {f"item-{number}": f"label {number}" for number in range(8)}
        self.has = {}
        self.undo = lambda: None
        self.gone = False
        self.lock = threading.Lock()  # a kill comes between two answers, as it does to a process

    def begin(self):
        self.gone = False

    def start(self):
        self.gone = False
        return 0.01

    def kill(self):
        with self.lock:
            if not self.gone:
                self.gone = True
                self.undo()
                self.undo = lambda: None
                if self.fault == "makes up":
                    self.items["never sent"] = "label"

    def connect(self):
        return self

    def _alive(self, kind, undo):
        if self.gone:
            raise Gone
        if kind == self.fault:
            self.undo = undo

    def put(self, item_id, label):
        with self.lock:
            before = dict(self.items)
            self._alive("put", lambda: setattr(self, "items", before))
            self.items[item_id] = label

    def remove(self, item_id):
        with self.lock:
            label = self.items.get(item_id)
            self._alive("remove", lambda: self.items.setdefault(item_id, label))
            if item_id not in self.items:  # it was put, and forgotten
                raise RuntimeError(f"item {item_id!r} is not offered")
            del self.items[item_id]

    def event(self, user_id, item_id, time):
        with self.lock:
            self._alive("event", lambda: self.has[user_id].discard(item_id))
            self.has.setdefault(user_id, set()).add(item_id)

    def offered(self, user_id):
        with self.lock:
            if self.gone:
                raise Gone
            has = self.has.get(user_id, ())
            return {item: label for item, label in self.items.items() if item not in has}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (None, None),
        ("put", "expected 'label"),
        ("remove", "expected '(not offered)'"),
        ("event", "are lost"),
        ("makes up", "'never sent' was never sent"),
    ],
)
def test_a_service_that_forgets_is_found_out(fault, message):
    service = Forgetful(fault)
    figures = rounds(
        service, num_kills=4, seed=0, most_load_seconds=0.02, num_clients=1, least_acknowledged=100
    )
    found = figures["violations"]
    assert any(message in each for each in found) if message else found == []
