import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.index.faiss_index import FaissIndex
from twotower.index.flat_ip import FlatIP
from twotower.index.index import Index
from twotower.index.ivf_flat import IVFFlat
from twotower.index.read_write_lock import ReadWriteLock

TRAIN_THEN_INDEX = """
import torch
model = torch.nn.Linear(16, 16)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    loss = model(torch.randn(512, 16)).square().mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
import numpy as np
from twotower.index.ivf_flat import IVFFlat
index = IVFFlat.Config().build()
with torch.no_grad():
    vectors = model(torch.randn(3000, 16)).numpy()
index.build(vectors, np.arange(3000))
for _ in range(20):
    model(torch.randn(512, 16)).square().mean().backward()
    assert (index.search(vectors[:64], 10).rows >= 0).all()
print("done")
"""


def test_torch_then_faiss_in_one_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_THEN_INDEX],
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("done", 0), done.stderr


@pytest.mark.parametrize("config", [FlatIP.Config(), IVFFlat.Config(nlist=8)])
def test_searching_while_items_come_and_go(config: Index.Config) -> None:
    index = config.build()
    vectors = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32)
    index.build(vectors[:200], np.arange(200))
    stop, failures = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            rows = index.search(vectors[:64], 10).rows
            if rows.max() >= 1000 or rows.min() < -1:
                failures.append(rows)

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    deadline = time.monotonic() + 0.4
    while time.monotonic() < deadline:
        index.add(vectors[200:], np.arange(200, 1000))
        assert index.remove(np.arange(200, 1000)) == 800
    stop.set()
    for reader in readers:
        reader.join(timeout=600)
    assert not failures
    assert index.num_vectors == 200


class HaltedSearch:
    """Stands in for a Faiss index whose search has begun and does not end until it may."""

    ntotal, d = 1, 2  # as many vectors as the index that holds it has rows: no tombstones

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def search_c(self, *_: object) -> None:
        self.begun.set()
        assert self.may_end.wait(600)

    def add_with_ids(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        self.ntotal += len(rows)


def test_adding_waits_for_a_search_to_end() -> None:
    index, halted = FlatIP.Config().build(), HaltedSearch()
    index._faiss_index = FaissIndex(halted)
    index._faiss_index.rows = np.array([0])
    vectors = np.ones((1, 2), dtype=np.float32)
    searching = threading.Thread(target=index.search, args=(vectors, 1))
    adding = threading.Thread(target=index.add, args=(vectors, np.array([9])))
    searching.start()
    assert halted.begun.wait(600)
    adding.start()
    time.sleep(0.02)
    assert halted.ntotal == 1
    halted.may_end.set()
    searching.join(timeout=600)
    adding.join(timeout=600)
    assert halted.ntotal == 2


def test_readers_share_and_writers_do_not() -> None:
    lock = ReadWriteLock()
    seen: list[str] = []

    def write() -> None:
        with lock.writing():
            seen.append("written")

    writer = threading.Thread(target=write)
    with lock.reading():
        with ThreadedReader(lock) as reader:
            assert reader.entered.wait(600)
        writer.start()
        time.sleep(0.02)
        assert seen == []
    writer.join(timeout=600)
    assert seen == ["written"]
    with lock.reading():
        seen.append("read")
    assert seen == ["written", "read"]


class ThreadedReader:
    """Reads once in another thread."""

    def __init__(self, lock: ReadWriteLock) -> None:
        self.lock, self.entered = lock, threading.Event()
        self.thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        with self.lock.reading():
            self.entered.set()

    def __enter__(self) -> "ThreadedReader":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join(timeout=600)


@given(
    st.sets(st.integers(0, 30), min_size=1),
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 30))), max_size=8),
)
def test_an_index_holds_the_rows_of_a_set(start: set[int], changes: list[tuple[bool, set[int]]]) -> None:
    index, vectors, model = FlatIP.Config().build(), np.eye(31, dtype=np.float32), set(start)
    index.build(vectors[list(start)], np.array(list(start)))
    for adds, changed in changes:
        touched = list(changed - model if adds else changed)
        if adds:
            index.add(vectors[touched], np.array(touched, dtype=np.int64))
        else:
            assert index.remove(np.array(touched, dtype=np.int64)) == len(changed & model)
        model = model | changed if adds else model - changed
    assert index.rows.tolist() == sorted(model)
    assert index.num_vectors == len(model)
    found = index.search(vectors, 1).rows[:, 0]
    assert [row for row, best in enumerate(found.tolist()) if best == row] == sorted(model)
