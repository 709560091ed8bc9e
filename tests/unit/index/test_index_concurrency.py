import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.index.faiss_index import FaissIndex
from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.index.read_write_lock import ReadWriteLock


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

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.begun.set()
        assert self.may_end.wait(600)
        return np.zeros((1, 1), dtype=np.float32), np.zeros((1, 1), dtype=np.int64)

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
    with lock.reading(), lock.reading():
        writer.start()
        time.sleep(0.02)
        assert seen == []
    writer.join(timeout=600)
    assert seen == ["written"]
    with lock.reading():
        seen.append("read")
    assert seen == ["written", "read"]


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
