import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.model.towers.user_batch import UserBatch
from twotower.serving.live_items import Recommendation
from twotower.serving.retriever import Retriever

KINDS = ["flat_ip", "ivf_flat", "ivf_pq", "ivf_one_cell"]
USERS = [f"user-{row:02d}" for row in range(1, tiny_bundle.NUM_USERS + 1)]


@pytest.fixture(params=KINDS)
def opened(request, tmp_path):
    model, vectors = tiny_bundle.write(tmp_path / "bundle", kind=request.param)
    return Retriever.open(tmp_path / "bundle"), model, vectors


@pytest.fixture
def retriever(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", kind="ivf_one_cell")
    return Retriever.open(tmp_path / "bundle")


def name(row):
    return tiny_bundle.item_id(row, text=True)


def user_vector(model, row):
    rows, times = tiny_bundle.history().last(np.array([row]), tiny_bundle.LENGTH)
    with torch.inference_mode():
        now = torch.tensor([tiny_bundle.NOW])
        batch = UserBatch(torch.tensor([row]), torch.tensor(rows), torch.tensor(times), now)
        return model.encode_users(batch)[0].numpy()


def seen(row):
    return set(tiny_bundle.history().flat(np.array([row]))[1].tolist())


def brute_force(vectors, query, k, without=()):
    scores = vectors @ query
    order = sorted(range(1, len(vectors) + 1), key=lambda row: (-scores[row - 1], row))
    kept = [row for row in order if row not in without][:k]
    return [name(row) for row in kept], [scores[row - 1] for row in kept]


def ids(found):
    return [each.item_id for each in found]


def test_a_recommendation_says_item_score_and_name(opened):
    retriever, model, vectors = opened
    (found,) = retriever.recommend(USERS[3], 1)
    row = int(found.item_id[-3:])
    title = tiny_bundle.dataset().item_table["title"][row - 1]
    assert found == Recommendation(name(row), found.score, title)
    assert found.score == pytest.approx(float(vectors[row - 1] @ user_vector(model, 4)), rel=1e-5)
    assert type(found.item_id) is str
    assert type(found.score) is float


def test_similar_are_the_neighbors_without_itself(opened):
    retriever, _, vectors = opened
    found = retriever.similar(name(8), 59)
    towers = vectors[:, :-1]  # without the column of the item bias
    alike = towers / np.linalg.norm(towers, axis=1, keepdims=True)
    assert ids(found) == brute_force(alike, alike[7], 59, {8})[0]
    assert found[0].score == pytest.approx(
        float((alike @ alike[7])[int(found[0].item_id[-3:]) - 1]), rel=1e-5
    )
    assert len(retriever.similar(name(8), 100)) == 59


def test_a_new_user_with_a_known_users_history_is_recommended_the_same(opened):
    retriever, _, _ = opened
    for user in USERS[1:]:
        table = retriever.bundle.user_table
        country = table.loc[table["user_id"] == user, "country"].item()
        asked = {"features": {"country": country}, "history": retriever.history(user)}
        known, new = retriever.recommend(user, 60), retriever.recommend_new(**asked, k=60)
        assert ids(new) == ids(known)
        np.testing.assert_allclose([e.score for e in new], [e.score for e in known], rtol=1e-5)


def test_a_new_user_needs_nothing(retriever):
    assert len(retriever.recommend_new()) == 10
    assert len(retriever.recommend_new({"country": None}, request_time=tiny_bundle.NOW + 86_400)) == 10
    assert len(retriever.recommend_new({"country": "never seen"}, [name(2)], 60)) == 59
    assert len(retriever.recommend_new(history=[name(2)], k=60, exclude_seen=False)) == 60


def test_request_time_reaches_the_towers(retriever):
    now = retriever.recommend_new(k=60)
    half_a_year_later = retriever.recommend_new(k=60, request_time=tiny_bundle.NOW + 15_778_476)
    assert now == retriever.recommend_new(k=60, request_time=tiny_bundle.NOW)
    assert now != half_a_year_later


def test_history_is_oldest_first_and_may_be_empty(retriever):
    assert retriever.history(USERS[0]) == [name(row) for row in (2, 3, 4)]
    assert retriever.history(USERS[11]) == []
    assert len(retriever.recommend(USERS[11])) == 10


def test_whole_number_ids_stay_whole_numbers(tmp_path):
    tiny_bundle.write(tmp_path / "bundle", text=False)
    retriever = Retriever.open(tmp_path / "bundle")
    found = retriever.recommend(3, allow=[1001, np.int32(1050)])
    assert {(type(each.item_id), each.item_id) for each in found} == {(int, 1001), (int, 1050)}
    assert retriever.user_ids[:2] == [1, 2]
    retriever.add_item(7, {"title": "RED CUP"})
    assert retriever.recommend(np.int64(3), 1, allow=[7])[0].item_id == 7
