import numpy as np
import pytest
import tiny_bundle

from twotower.config.errors import InputError
from twotower.serving import retriever as retriever_module
from twotower.serving.requests import Request, UnknownItem, UnknownUser
from twotower.serving.retriever import Retriever

NOW = tiny_bundle.NOW
REQUESTS = [
    Request("user-03"),
    Request(features={"country": "DE"}, history=["item-004", "item-009"], k=7),
    Request("nobody"),
    Request("late", k=3),
    Request("user-12", k=60, exclude_seen=False),
    Request(history=["no such item"]),
    Request(),
    Request("user-02", where={"tags": "kids"}, deny=["item-001"], k=100),
    Request("user-02", where={"colour": "red"}),
    Request("user-05", allow=["item-050", "item-051"], request_time=NOW + 86_400),
    Request("user-05", k=0),
    Request(
        features={"country": "FR"}, history=["item-030"], history_times=[NOW - 5], where={"price": {"max": 5}}
    ),
    Request("user-05", features={"country": "DE"}),
    Request("user-05", history=["item-030"]),
    Request("user-05", features={"contry": "DE"}),
    Request("user-05", history=["no such item"]),
    Request("user-06", features={"country": None}, history=["item-030"], history_times=[NOW + 5]),
]
WRONG = {2: UnknownUser, 5: UnknownItem, 8: InputError, 10: InputError, 14: InputError, 15: UnknownItem}


@pytest.fixture(params=["flat_ip", "ivf_one_cell"])
def retriever(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind=request.param, history_items="tower")
    opened = Retriever.open(tmp_path / "bundle")
    opened.put_item("new", {"title": "RED CUP", "price": 3.0, "tags": ["home"]})
    opened.add_event("late", "new", NOW)
    return opened


def test_a_batch_is_answered_as_its_requests_alone(retriever):
    together = retriever.answer(REQUESTS)
    assert len(together) == len(REQUESTS)
    for place, (found, request) in enumerate(zip(together, REQUESTS, strict=True)):
        (alone,) = retriever.answer([request])
        if place in WRONG:
            assert type(found) is type(alone) is WRONG[place]
            assert str(found) == str(alone)
            continue
        assert [each.item_id for each in found] == [each.item_id for each in alone]
        np.testing.assert_allclose(
            [each.score for each in found], [each.score for each in alone], rtol=1e-6, atol=1e-6
        )


def test_single_calls_are_batches_of_one(retriever):
    assert retriever.answer([REQUESTS[0]]) == [retriever.recommend("user-03")]
    asked = {"features": {"country": "DE"}, "history": ["item-004", "item-009"], "k": 7}
    assert retriever.answer([REQUESTS[1]]) == [retriever.recommend_new(**asked)]


def test_one_pass_of_the_tower_and_one_search_for_all(retriever, monkeypatch):
    calls = []
    index = retriever.catalogue.index
    embed, search = retriever_module.embed_users, index.search
    monkeypatch.setattr(
        retriever_module, "embed_users", lambda *given: calls.append("tower") or embed(*given)
    )
    monkeypatch.setattr(
        index, "search", lambda queries, k: calls.append((len(queries), k)) or search(queries, k)
    )
    retriever.answer([Request(), Request("user-01", k=2), Request("late", k=3), Request("x"), Request(k=60)])
    assert calls == ["tower", (3, 10)]  # k = 60 is a look at everything; user-01 wants 2 and has seen 3


def test_nothing_asked_is_nothing_answered(retriever):
    assert retriever.answer([]) == []
    (wrong,) = retriever.answer([Request("nobody")])
    assert isinstance(wrong, UnknownUser)


def test_no_user_is_not_a_described_one(retriever):
    with pytest.raises(UnknownUser):
        retriever.recommend(None)


@pytest.mark.parametrize("user_id", ["1", 1.0, True, None, [1]])
def test_an_id_of_another_type_is_nobodys(tmp_path, user_id):
    tiny_bundle.write(tmp_path / "bundle", text=False)
    retriever = Retriever.open(tmp_path / "bundle")
    assert len(retriever.recommend(1)) == 10
    with pytest.raises(UnknownUser):
        retriever.recommend(user_id)


def test_the_version_names_the_run_and_the_manifest(tmp_path):
    tiny_bundle.write(tmp_path / "2026-01-31" / "bundle")
    retriever = Retriever.open(tmp_path / "2026-01-31" / "bundle")
    assert retriever.version == f"2026-01-31-{retriever.bundle.manifest.sha256[:12]}"
    tiny_bundle.write(tmp_path / "other", kind="ivf_flat")
    other = Retriever.open(tmp_path / "other")
    assert other.version == f"other-{other.bundle.manifest.sha256[:12]}"


def test_a_user_without_finite_scores_harms_nobody_else(retriever, monkeypatch):
    embed = retriever_module.embed_users
    requests = [Request("user-03"), Request("user-05", k=60), Request("nobody"), Request("user-04")]
    right = retriever.answer(requests)
    for value in (np.nan, np.inf, -3e38):

        def broken(*case, value=value):
            found = embed(*case).copy()
            found[1, 2] = value
            return found

        monkeypatch.setattr(retriever_module, "embed_users", broken)
        found = retriever.answer(requests)
        assert [found[0], found[3]] == [right[0], right[3]]
        assert "is not finite or too large" in str(found[1])
        assert isinstance(found[2], UnknownUser)
