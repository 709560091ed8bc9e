import numpy as np
import pytest
import tiny_bundle

from twotower.index.kinds.hnsw import HNSW
from twotower.serving.retriever import Retriever

NEW = {"title": "RED CUP", "price": 3.0, "tags": ["home"]}


@pytest.fixture(
    params=["ivf_flat", HNSW.Config().build()],
    ids=lambda kind: getattr(kind, "kind", kind),
)
def retriever(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind=request.param, history_items="tower")
    return Retriever.open(tmp_path / "bundle", ["strangers"])


def everything(retriever):
    return [each.item_id for each in retriever.recommend_new(k=1000)]


def test_an_added_item_is_found_at_once(retriever):
    twin = retriever.bundle.item_embeddings[19].copy()
    retriever.add_item("new", NEW)
    assert retriever.num_items == 61
    assert retriever.item_ids[-1] == "new"
    assert retriever.label("new") == "RED CUP"
    retriever.add_item("again", NEW)  # the same features, so the same vector
    nearest = [each.item_id for each in retriever.similar("new", 60)]
    assert len(nearest) == 60
    alike = {each.item_id: each.score for each in retriever.similar("again", 60)}
    assert alike["new"] == pytest.approx({e.item_id: e.score for e in retriever.similar("new", 60)}["again"])
    np.testing.assert_array_equal(retriever.bundle.item_embeddings[19], twin)


def test_a_removed_item_never_comes_back(retriever):
    retriever.add_item("new", NEW)
    for gone in ("new", "item-020", "item-001"):
        retriever.remove_item(gone)
        assert gone not in everything(retriever)
        assert gone not in retriever.item_ids
        assert all(gone != each.item_id for each in retriever.similar("item-021", 1000))
        assert retriever.label(gone) is not None
    assert retriever.num_items == len(everything(retriever)) == 58
    for small in (1, 5):
        found = [each.item_id for user in retriever.user_ids for each in retriever.recommend(user, small)]
        assert not {"new", "item-020", "item-001"} & set(found)


def test_an_item_removed_and_added_again_is_the_new_one(retriever):
    retriever.remove_item("item-002")
    retriever.add_item("item-002", {"title": "BLUE LAMP"})
    assert retriever.label("item-002") == "BLUE LAMP"
    assert everything(retriever).count("item-002") == 1
    assert "item-002" in retriever.history("user-01")
    seen = [each.item_id for each in retriever.recommend("user-01", 1000)]
    assert "item-002" not in seen
    retriever.remove_item("item-002")
    retriever.add_item("item-002", NEW)
    assert "item-002" not in [each.item_id for each in retriever.recommend("user-01", 1000)]
    assert "item-002" in [each.item_id for each in retriever.recommend("user-01", 1000, exclude_seen=False)]


def test_a_history_table_does_not_know_an_added_item(tmp_path):
    tiny_bundle.write(tmp_path / "bundle")
    retriever = Retriever.open(tmp_path / "bundle")
    retriever.add_item("new", NEW)
    assert retriever.recommend_new(history=["new"], k=60) == retriever.recommend_new(k=60, deny=["new"])
