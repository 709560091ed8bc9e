import itertools

import numpy as np
import pytest
import tiny_bundle

from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.serving import live_catalogue
from twotower.serving.requests import UnknownItem
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}


@pytest.fixture
def retriever(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind="ivf_flat", history_items="tower")
    return Retriever.open(tmp_path / "bundle")


def scores(retriever, **asked):
    return {each.item_id: each.score for each in retriever.recommend_new(k=1000, **asked)}


def own_features(retriever, item):
    features = retriever.item(item)["features"]
    return {name: features[name] for name in ("title", "price", "tags")}


def test_a_new_item_is_found_and_a_changed_one_takes_its_place(retriever):
    assert retriever.put_item("new", NEW) is True
    before = scores(retriever)
    assert retriever.put_item("new", NEW | {"price": 900.0}) is False
    after = scores(retriever)
    assert retriever.num_items == 61
    assert set(after) == set(before)
    assert {item for item in after if after[item] != before[item]} == {"new"}
    assert retriever.recommend_new(k=1000, where={"price": 900.0})[0].item_id == "new"
    assert retriever.recommend_new(where={"price": 3.0}) == []
    assert retriever.put_item("item-020", NEW | {"title": "BLUE LAMP"}) is False
    assert retriever.label("item-020") == "BLUE LAMP"
    assert retriever.num_items == 61
    assert retriever.item_ids.count("item-020") == 1
    assert retriever.bundle.index.num_vectors == 61


def test_an_item_put_as_it_is_scores_as_before(retriever):
    before = scores(retriever)
    for item in ("item-020", "item-007"):
        assert retriever.put_item(item, own_features(retriever, item)) is False
    assert scores(retriever) == pytest.approx(before, abs=1e-5)  # its embedded id and its bias are its own


def test_a_changed_item_keeps_its_bias_and_a_new_one_has_none_of_its_own(tmp_path):
    tiny_bundle.write(tmp_path / "bundle")
    bundle = read_bundle(tmp_path / "bundle")
    bundle.item_embeddings[:, -1] = np.arange(60) / 10  # as if training had told them apart
    retriever = Retriever(bundle)
    before = scores(retriever)
    features = own_features(retriever, "item-020")
    retriever.put_item("item-020", features)
    retriever.put_item("new", features)
    assert scores(retriever, deny=["new"]) == pytest.approx(before, abs=1e-5)
    assert retriever.catalogue.prepare([("new", features)])[0].embedding[-1] == 0.0


def test_a_changed_item_stays_what_users_have(retriever):
    retriever.add_event("late", "item-020", NOW)
    before = retriever.recommend("late", 60)
    retriever.put_item("item-020", NEW)
    assert retriever.history("late") == ["item-020"]
    after = retriever.recommend("late", 60)
    assert "item-020" not in {each.item_id for each in after}
    assert [each.score for each in after] != [each.score for each in before]
    described = retriever.recommend_new(history=["item-020"], history_times=[NOW], k=60)
    assert described == after  # what the towers are told of is the changed item
    assert "item-002" in retriever.history("user-01")
    retriever.put_item("item-002", NEW)
    assert "item-002" in retriever.history("user-01")
    assert "item-002" not in {each.item_id for each in retriever.recommend("user-01", 60)}


def test_a_table_of_histories_keeps_what_it_learned_of_a_changed_item(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items="table")
    retriever = Retriever.open(tmp_path / "bundle")
    before = scores(retriever, history=["item-020"])
    retriever.put_item("item-020", NEW)
    assert scores(retriever, history=["item-020"]) == before
    retriever.add_event("late", "item-020", NOW)
    assert {each.item_id: each.score for each in retriever.recommend("late", 60)} == before


def test_the_same_again_changes_nothing(retriever):
    retriever.put_item("new", NEW)
    rows = retriever._items.num_rows
    assert retriever.put_item("new", dict(NEW)) is False
    assert retriever.put_item("new", NEW | {"tags": ("home",), "mixed": None}) is False
    assert retriever._items.num_rows == rows
    retriever.remove_item("new")
    assert retriever.put_item("new", NEW) is True
    assert retriever._items.num_rows == rows + 1


def test_what_is_known_of_an_item(retriever):
    retriever.put_item("new", NEW | {"mixed": "no feature reads this"})
    assert retriever.item("new") == {
        "item_id": "new",
        "label": "RED CUP",
        "offered": True,
        "live": True,
        "features": NEW | {"mixed": "no feature reads this"},
    }
    table = retriever.bundle.item_table.set_index("item_id")
    known = retriever.item("item-003")
    assert known["features"]["price"] == pytest.approx(table["price"]["item-003"])
    assert known["label"] == known["features"]["title"] == table["title"]["item-003"]
    assert (known["offered"], known["live"]) == (True, False)
    retriever.remove_item("item-003")
    assert retriever.item("item-003") == known | {"offered": False}
    with pytest.raises(UnknownItem):
        retriever.item("x")
    assert retriever.attributes == {"title": "text", "price": "number", "tags": "tags", "mixed": "text"}


@pytest.mark.parametrize(
    ("item_id", "features", "part"),
    [
        (5, NEW, "item ids of this catalogue are text"),
        ("new", {"prize": 3.0}, "did you mean 'price'"),
        ("new", {"item_id": "new"}, "item_id"),
        ("new", {"mixed": 3}, "'mixed' holds text"),
        ("new", {"price": "cheap"}, "'price'"),
        ("new", ["price"], "column: value"),
    ],
)
def test_a_wrong_item_changes_nothing(retriever, item_id, features, part):
    before = scores(retriever)
    with pytest.raises(InputError, match=part):
        retriever.put_item(item_id, features)
    assert scores(retriever) == before


def test_the_bundle_is_left_as_it_was_read(retriever):
    bundle = retriever.bundle
    vectors, num_rows = bundle.item_embeddings.copy(), bundle.model.items.num_rows
    for number in range(40):
        retriever.put_item(f"item-{number + 1:03d}", NEW | {"price": float(number)})
    np.testing.assert_array_equal(bundle.item_embeddings, vectors)
    assert bundle.model.items.num_rows == num_rows


def test_longer_numbers_than_json_and_the_store_take_are_refused(retriever):
    for name, number in itertools.product(("price", "tags", "mixed"), (2**63, [-(10**20)], 10**400)):
        with pytest.raises(InputError, match=r"features: column '\w+': expected whole numbers of 64 bits"):
            retriever.put_item("new", NEW | {name: number})
    assert retriever.num_items == 60
    assert retriever.recommend_new(where={"tags": "home"})


def test_an_item_without_finite_scores_is_refused_and_takes_nobodys_place(retriever, monkeypatch):
    before, embed = scores(retriever), live_catalogue.embed_items
    for value in (float("nan"), float("inf"), 3e38, 1e15):
        broken = embed(retriever.bundle.model, retriever.bundle.model.items.encode([NEW])).copy()
        broken[0, 0] = value
        monkeypatch.setattr(live_catalogue, "embed_items", lambda *_, broken=broken: broken)
        with pytest.raises(InputError, match="the embedding of item 'item-020' is not finite"):
            retriever.put_item("item-020", NEW)
    monkeypatch.undo()
    assert scores(retriever) == before


def test_an_item_that_the_index_does_not_take_takes_nobodys_place(retriever, monkeypatch):
    def refuse(*_):
        raise InputError("item vectors: beyond what this index holds")

    before = scores(retriever)
    with monkeypatch.context() as patch:
        patch.setattr(retriever.bundle.index, "check_range", refuse)
        with pytest.raises(InputError, match="beyond what this index holds"):
            retriever.catalogue.prepare([("item-020", NEW)])
    prepared = retriever.catalogue.prepare([("item-020", NEW)])
    monkeypatch.setattr(retriever.bundle.index, "add", refuse)
    with pytest.raises(InputError, match="beyond what this index holds"):
        retriever.apply_items(prepared)
    assert scores(retriever) == before
