import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.bundle.history_vectors import gather_history_vectors
from twotower.bundle.read import read_bundle
from twotower.features.feature_table import PREFIX
from twotower.serving.live_items import LiveItems
from twotower.serving.towers import HistoryInputs, embed_items, embed_users
from twotower.towers.user_batch import UserBatch

NOW = np.full(tiny_bundle.NUM_USERS + 1, tiny_bundle.NOW)


@pytest.fixture(params=["table", "tower"])
def bundle(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items=request.param)
    return read_bundle(tmp_path / "bundle")


def test_users_are_embedded_as_the_model_does(bundle):
    users = np.arange(tiny_bundle.NUM_USERS + 1)  # the unknown one, and one without a history
    rows, times = bundle.history.last(users, tiny_bundle.LENGTH)
    assert (rows == 7).any()  # which was not trained
    features = bundle.model.users.gather(torch.from_numpy(users))
    history = gather_history_vectors(bundle.model, rows, lambda some: bundle.item_embeddings[some - 1])
    found = embed_users(bundle.model, features, HistoryInputs(*history, times), NOW)
    with torch.inference_mode():
        expected = bundle.model.encode_users(UserBatch(*map(torch.from_numpy, (users, rows, times, NOW))))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert found.dtype == np.float32


def test_items_are_embedded_as_the_model_does(bundle):
    records = [{"title": "RED CUP", "price": 3.0, "tags": ["home"]}, {}]
    encoded = bundle.model.items.encode(records)
    embeddings = embed_items(bundle.model, encoded)
    with torch.inference_mode():
        expected = bundle.model.encode_item_features(encoded).numpy()
    np.testing.assert_array_equal(embeddings, expected)


def test_added_items_count_if_histories_read_item_towers(bundle, monkeypatch):
    monkeypatch.setattr("twotower.serving.live_items.SPARE_ROWS", 1)
    items = LiveItems(bundle.items, None, bundle.item_embeddings, bundle.model.layout.tower_width)
    encoded = bundle.model.items.encode([{"title": f"RED CUP {n}", "price": float(n)} for n in range(40)])
    for number, embedding in enumerate(embed_items(bundle.model, encoded)):
        items.add(f"new {number}", embedding, None, {})
    for name, values in encoded.items():
        known = bundle.model.items.get_buffer(PREFIX + name)
        setattr(bundle.model.items, PREFIX + name, torch.cat([known, values]))
    bundle.model.items.num_rows += 40
    rows = np.array([[0, 0, 3, 61, 100], [0, 0, 0, 3, 0]])
    times = np.where(rows > 0, tiny_bundle.NOW, 0)
    features = bundle.model.users.gather(torch.zeros(2, dtype=torch.int64))

    def embed(rows):
        history = gather_history_vectors(bundle.model, rows, items.embeddings)
        return embed_users(bundle.model, features, HistoryInputs(*history, times), NOW[:2])

    with torch.inference_mode():
        expected = bundle.model.encode_users(
            UserBatch.from_features(features, *map(torch.from_numpy, (rows, times, NOW[:2])))
        ).numpy()
    np.testing.assert_allclose(embed(rows), expected, atol=1e-6)
    changes = np.abs(embed(rows)[0] - embed(rows * (rows < 61))[0]).max() > 1e-4
    assert changes == (bundle.model.history.config.items == "tower")
