import threading

import numpy as np
import pytest
import tiny_bundle

from twotower.index.ground_truth import GroundTruth
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.hnsw import HNSW
from twotower.index.kinds.ivf_flat import IVFFlat
from twotower.serving import live_catalogue
from twotower.serving.live_catalogue import fresh_index
from twotower.serving.retriever import Retriever

KINDS = ["ivf_flat", HNSW.Config().build()]
NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}


@pytest.fixture(params=KINDS, ids=lambda kind: getattr(kind, "kind", kind))
def retriever(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind=request.param, history_items="tower")
    return Retriever.open(tmp_path / "bundle", ["strangers"])


def everything(retriever):
    return {each.item_id for each in retriever.recommend_new(k=10_000)}


@pytest.mark.parametrize(
    ("num_added", "num_removed", "num_dropped", "shares", "expected"),
    [
        (10, 12, 0, (10 / 58, 12 / 60), False),  # fewer than 100 changes
        (99, 0, 0, (99 / 159, 0), False),
        (100, 0, 0, (100 / 160, 0), True),
        (60, 40, 30, (30 / 50, 40 / 60), False),  # 30 of the added items are gone again
        (70, 60, 0, (1, 1), True),
        (0, 60, 0, (0, 1), False),
    ],
)
def test_a_rebuild_is_needed_after_many_changes(
    tmp_path, num_added, num_removed, num_dropped, shares, expected
):
    tiny_bundle.write(tmp_path / "bundle", kind="flat_ip")
    retriever = Retriever.open(tmp_path / "bundle")
    retriever.apply_items(retriever.catalogue.prepare([(f"n{number}", NEW) for number in range(num_added)]))
    for row in range(1, num_removed + 1):
        retriever.remove_item(f"item-{row:03d}")
    for number in range(num_dropped):
        retriever.remove_item(f"n{number}")
    drift = retriever.catalogue.drift()
    assert (drift.live_share, drift.removed_share, drift.needs_rebuild) == (
        *map(pytest.approx, shares),
        expected,
    )


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
    assert retriever.catalogue.drift().needs_rebuild
    retriever.catalogue.rebuild()
    assert retriever.catalogue.index.num_tombstones == 0
    assert not retriever.catalogue.drift().needs_rebuild


def changed(retriever):
    for number in range(90):
        retriever.put_item(f"n{number}", NEW | {"price": float(number)})
    for row in range(1, 41):
        retriever.remove_item(f"item-{row:03d}")


def test_a_rebuilt_index_holds_what_is_offered(retriever):
    changed(retriever)
    assert retriever.catalogue.drift().needs_rebuild
    before, old = retriever.recommend_new(k=10_000), retriever.catalogue.index
    retriever.catalogue.rebuild()
    index = retriever.catalogue.index
    assert index is not old
    assert index.config == old.config
    rows = index.rows
    vectors, users = retriever._items.embeddings(rows), retriever.catalogue._embedded_users
    truth = GroundTruth.search(vectors, rows, users, 100)
    assert truth.recall(index.search(users, 100).rows) >= index.config.target_recall
    np.testing.assert_array_equal(index.rows, retriever._items.live_rows())
    assert retriever.recommend_new(k=10_000) == before
    drift = retriever.catalogue.drift()
    assert (drift.live_share, drift.removed_share, drift.needs_rebuild) == (0.0, 0.0, False)
    retriever.put_item("later", NEW)
    retriever.remove_item("n0")
    drift = retriever.catalogue.drift()
    assert drift.live_share == pytest.approx(1 / 110)
    assert drift.removed_share == pytest.approx(1 / 110)
    assert "later" in everything(retriever)
    np.testing.assert_array_equal(index.rows, retriever._items.live_rows())


def test_so_few_items_that_the_spec_does_not_fit_are_searched_exactly(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind="ivf_pq")
    retriever = Retriever.open(tmp_path / "bundle")
    for row in range(1, 51):
        retriever.remove_item(f"item-{row:03d}")
    retriever.catalogue.rebuild()
    assert isinstance(retriever.catalogue.index, FlatIP)
    assert everything(retriever) == {f"item-{row:03d}" for row in range(51, 61)}
    for number in range(30):
        retriever.put_item(f"n{number}", NEW)
    retriever.catalogue.rebuild()
    assert retriever.catalogue.index.kind == "ivf_pq"
    for item in retriever.item_ids:
        retriever.remove_item(item)
    retriever.catalogue.rebuild()
    assert retriever.recommend_new() == []


def test_no_more_cells_are_visited_than_there_are():
    spec = IVFFlat.Config(nlist=None).spec()
    vectors = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    fresh = fresh_index(spec, {"nprobe": 7}, vectors, np.arange(1, 101))
    assert fresh.build_args == {"nlist": 2}  # 39 vectors a cell
    assert fresh.search_args == {"nprobe": 2}
    kept = fresh_index(spec, {"nprobe": 1}, vectors, np.arange(1, 101))
    assert kept.search_args == {"nprobe": 1}


@pytest.mark.parametrize("nprobe", [None, 2])
def test_users_choose_the_search_argument_of_a_new_index_unless_the_settings_fix_it(tmp_path, nprobe):
    kind = IVFFlat.Config(nlist=8, nprobe=nprobe, target_recall=0.9, min_recall=0.5).build()
    tiny_bundle.write(tmp_path / "bundle", kind=kind, history_items="tower")
    retriever = Retriever.open(tmp_path / "bundle", ["strangers"])
    catalogue = retriever.catalogue
    for is_balanced in (True, False):
        catalogue.index.set_search_args({"nprobe": 1})
        if not is_balanced:
            catalogue.index = FlatIP.Config().build()
        catalogue.rebuild()
        index = catalogue.index
        users, vectors = catalogue._embedded_users, retriever._items.embeddings(index.rows)
        truth = GroundTruth.search(vectors, index.rows, users, 100)
        if nprobe is None:
            assert truth.recall(index.search(users, 100).rows) >= 0.9
            assert 1 < index.search_args["nprobe"] < index.largest_search_arg
        elif not is_balanced:
            assert index.search_args == {"nprobe": nprobe}


def test_cells_are_balanced_and_not_trained_again(retriever, monkeypatch):
    changed(retriever)
    trained = []
    monkeypatch.setattr(IVFFlat, "train", lambda *given: trained.append(given))
    retriever.catalogue.rebuild()
    assert everything(retriever) == set(retriever.item_ids)
    assert not trained
    assert not retriever.catalogue.drift().needs_rebuild


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
    retriever.catalogue.rebuild()
    found = everything(retriever)
    assert found == set(retriever.item_ids)
    assert "meanwhile" in found
    assert not found & {"short-lived", "n2", "item-060"}
    np.testing.assert_array_equal(retriever.catalogue.index.rows, retriever._items.live_rows())
    drift = retriever.catalogue.drift()
    assert drift.live_share == pytest.approx(2 / 109)  # "meanwhile", and n1 as it is now
    assert drift.removed_share == pytest.approx(3 / 110)  # n1 as it was, n2, item-060


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
            retriever.catalogue.rebuild()

    threads = [threading.Thread(target=target) for target in (read, read, rebuild)]
    for thread in threads:
        thread.start()
    for number in range(40):
        retriever.put_item(f"n{number}", NEW | {"price": float(number)})
        if number % 3 == 0:
            retriever.remove_item(f"n{number}")
        if number % 10 == 0:
            retriever.put_item("item-030", NEW | {"price": float(number)})
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    kept = {f"n{number}" for number in range(40) if number % 3}
    assert everything(retriever) == kept | {f"item-{row:03d}" for row in range(11, 61)}
    np.testing.assert_array_equal(retriever.catalogue.index.rows, retriever._items.live_rows())
