import threading

import numpy as np
import pytest
import tiny_bundle
from strangers.hnsw import HNSW

from twotower.index.flat_ip import FlatIP
from twotower.index.ivf_flat import IVFFlat
from twotower.serving import live_catalogue
from twotower.serving.drift import Drift, DriftCounter, fresh_index
from twotower.serving.retriever import Retriever

KINDS = ["flat_ip", "ivf_flat", "ivf_pq", HNSW.Config().build()]
NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}


@pytest.fixture(params=KINDS, ids=lambda kind: getattr(kind, "kind", kind))
def retriever(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind=request.param, history_items="tower")
    return Retriever.open(tmp_path / "bundle", ["strangers"])


def everything(retriever):
    return {each.item_id for each in retriever.recommend_new(k=10_000)}


def test_drift_by_hand():
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=np.float32)  # mean 0, sqrt(2) from it
    counter = DriftCounter(corners, 4)
    assert counter.drift() == Drift(0.0, 0.0, 0.0, False)
    counter.added(np.array([5, 5], dtype=np.float32))
    found = counter.drift()
    assert (found.live_share, found.tombstone_share) == (1 / 5, 0.0)
    assert found.centroid_shift == pytest.approx(1.0)  # the mean is now (1, 1), sqrt(2) away
    counter.removed(4, corners[3])
    found = counter.drift()
    assert (found.live_share, found.tombstone_share) == (1 / 4, 1 / 4)
    assert found.centroid_shift == pytest.approx(1.5)  # (1.5, 1.5)
    counter.removed(5, np.array([5, 5], dtype=np.float32))
    found = counter.drift()
    assert (found.live_share, found.tombstone_share) == (0.0, 1 / 4)
    assert found.centroid_shift == pytest.approx(1 / 3)
    assert not found.needs_rebuild  # however far, after a single change


@pytest.mark.parametrize(
    ("num_added", "num_removed", "step", "expected"),
    [
        (99, 0, 9.0, False),
        (100, 0, 0.0, False),  # 100 of 600 are live: 0.17
        (100, 0, 2.0, True),  # 100 / 600 of 2 = 0.33 from a mean with a spread of 1
        (124, 0, 0.0, False),
        (126, 0, 0.0, True),  # 126 of 626: 0.201
        (0, 100, 0.0, False),  # 100 of 500 are gone: 0.2
        (0, 101, 0.0, True),
        (60, 40, 0.0, False),
    ],
)
def test_a_rebuild_is_called_for_by_shares_and_shift(num_added, num_removed, step, expected):
    vectors = np.tile(np.array([[1, 0], [-1, 0]], dtype=np.float32), (250, 1))
    counter = DriftCounter(vectors, 500)
    for _ in range(num_added):
        counter.added(np.array([0, step], dtype=np.float32))
    for row in range(num_removed):
        counter.removed(row + 1, vectors[row])
    assert counter.drift().needs_rebuild == expected


def test_tombstones_of_items_put_in_later_count_too():
    counter = DriftCounter(np.tile(np.array([[1, 0], [-1, 0]], dtype=np.float32), (250, 1)), 500)
    assert counter.drift(125).tombstone_share == 0.2  # 125 of 625 vectors in the index
    assert not counter.drift(125).needs_rebuild
    assert counter.drift(126).needs_rebuild
    assert not DriftCounter(np.eye(2, dtype=np.float32), 2).drift(99).needs_rebuild  # of so few it is nothing


def test_an_index_that_cannot_remove_is_rebuilt_once_tombstones_pile_up(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind=HNSW.Config(links=64).build(), history_items="tower")
    retriever = Retriever.open(tmp_path / "bundle", ["strangers"])
    index, before = retriever.catalogue.index, retriever.recommend_new(k=1)
    for number in range(100):
        retriever.put_item(f"n{number}", NEW | {"price": float(number)})
        retriever.remove_item(f"n{number}")
    assert (index.num_tombstones, index.num_vectors, retriever.num_items) == (100, 60, 60)
    assert [len(retriever.recommend("user-02", k)) for k in (1, 5, 12)] == [1, 5, 12]
    assert retriever.recommend_new(k=1) == before
    assert retriever.drift().needs_rebuild
    retriever.rebuild()
    assert retriever.catalogue.index.num_tombstones == 0
    assert not retriever.drift().needs_rebuild


def test_everything_gone_has_drifted():
    counter = DriftCounter(np.ones((1, 2), dtype=np.float32), 1)
    counter.removed(1, np.ones(2, dtype=np.float32))
    assert counter.drift() == Drift(0.0, 1.0, 0.0, False)


def changed(retriever):
    for number in range(90):
        retriever.put_item(f"n{number}", NEW | {"price": float(number)})
    for row in range(1, 41):
        retriever.remove_item(f"item-{row:03d}")


def test_nothing_is_built_over_no_item():
    vectors = np.eye(120, 2, dtype=np.float32)
    counter = DriftCounter(vectors, 120)
    for row, vector in enumerate(vectors, start=1):
        counter.removed(row, vector)
    assert counter.drift().tombstone_share == 1
    assert not counter.drift().needs_rebuild
    counter.added(vectors[0])
    assert counter.drift().needs_rebuild


def test_a_rebuilt_index_holds_what_is_offered(retriever):
    changed(retriever)
    assert retriever.drift().needs_rebuild
    before, old = retriever.recommend_new(k=10_000), retriever.catalogue.index
    retriever.rebuild()
    index = retriever.catalogue.index
    assert index is not old
    assert index.config == old.config
    assert index.search_args == old.search_args
    np.testing.assert_array_equal(index.rows, retriever._items.live_rows())
    assert retriever.recommend_new(k=10_000) == before
    drift = retriever.drift()
    assert (drift.live_share, drift.tombstone_share, drift.needs_rebuild) == (0.0, 0.0, False)
    assert drift.centroid_shift == pytest.approx(0, abs=1e-6)
    retriever.put_item("later", NEW)
    retriever.remove_item("n0")
    drift = retriever.drift()
    assert drift.live_share == pytest.approx(1 / 110)
    assert drift.tombstone_share == pytest.approx(1 / 110)
    assert "later" in everything(retriever)
    np.testing.assert_array_equal(index.rows, retriever._items.live_rows())


def test_so_few_items_that_the_spec_does_not_fit_are_searched_exactly(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind="ivf_pq")
    retriever = Retriever.open(tmp_path / "bundle")
    for row in range(1, 51):
        retriever.remove_item(f"item-{row:03d}")
    retriever.rebuild()
    assert isinstance(retriever.catalogue.index, FlatIP)
    assert everything(retriever) == {f"item-{row:03d}" for row in range(51, 61)}
    for number in range(30):
        retriever.put_item(f"n{number}", NEW)
    retriever.rebuild()
    assert retriever.catalogue.index.kind == "ivf_pq"
    for item in retriever.item_ids:
        retriever.remove_item(item)
    retriever.rebuild()
    assert retriever.recommend_new() == []


def test_no_more_cells_are_visited_than_there_are():
    spec = IVFFlat.Config(nlist=None).spec()
    vectors = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    fresh = fresh_index(spec, {"nprobe": 7}, vectors, np.arange(1, 101))
    assert fresh.build_args == {"nlist": 2}  # 39 vectors a cell
    assert fresh.search_args == {"nprobe": 2}
    assert fresh_index(spec, {"nprobe": 1}, vectors, np.arange(1, 101)).search_args == {"nprobe": 1}


def test_changes_during_a_rebuild_are_in_the_new_index(retriever, monkeypatch):
    changed(retriever)
    build = live_catalogue.fresh_index

    def slow(*given):
        built = build(*given)
        retriever.put_item("meanwhile", NEW)
        retriever.put_item("n1", NEW | {"price": 77.0})
        retriever.put_item("short-lived", NEW)
        for gone in ("short-lived", "n2", "item-060"):
            retriever.remove_item(gone)
        return built

    monkeypatch.setattr(live_catalogue, "fresh_index", slow)
    retriever.rebuild()
    found = everything(retriever)
    assert found == set(retriever.item_ids)
    assert "meanwhile" in found
    assert not found & {"short-lived", "n2", "item-060"}
    np.testing.assert_array_equal(retriever.catalogue.index.rows, retriever._items.live_rows())
    drift = retriever.drift()
    assert drift.live_share == pytest.approx(2 / 109)  # "meanwhile", and n1 as it is now
    assert drift.tombstone_share == pytest.approx(3 / 110)  # n1 as it was, n2, item-060


def test_searches_and_changes_go_on_while_the_index_is_rebuilt(retriever):
    always = {f"item-{row:03d}" for row in range(41, 61)}  # offered throughout
    never = {f"item-{row:03d}" for row in range(1, 11)}  # removed before
    for item in never:
        retriever.remove_item(item)
    stop, failures = threading.Event(), []

    def read():
        while not stop.is_set():
            some, all_of_it = retriever.recommend("user-02", 8), everything(retriever)
            ids = [each.item_id for each in some]
            if len(ids) != len(set(ids)) or len(ids) != 8 or never & set(ids) or never & all_of_it:
                failures.append(ids)
            if not always <= all_of_it:
                failures.append(always - all_of_it)

    def rebuild():
        while not stop.is_set():
            retriever.rebuild()

    threads = [threading.Thread(target=target) for target in (read, read, rebuild)]
    for thread in threads:
        thread.start()
    for number in range(120):
        retriever.put_item(f"n{number}", NEW | {"price": float(number)})
        if number % 3 == 0:
            retriever.remove_item(f"n{number}")
        if number % 10 == 0:
            retriever.put_item("item-030", NEW | {"price": float(number)})
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    kept = {f"n{number}" for number in range(120) if number % 3}
    assert everything(retriever) == kept | {f"item-{row:03d}" for row in range(11, 61)}
    np.testing.assert_array_equal(retriever.catalogue.index.rows, retriever._items.live_rows())
