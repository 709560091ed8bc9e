import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.bundle.read import read_bundle
from twotower.features.feature_table import PREFIX
from twotower.serving.towers import TorchTowers, towers_of
from twotower.towers.user_batch import UserBatch

NOW = np.full(tiny_bundle.NUM_USERS + 1, tiny_bundle.NOW)


@pytest.fixture(params=["table", "tower"])
def opened(request, tmp_path):
    tiny_bundle.write(tmp_path / "bundle", history_items=request.param)
    bundle = read_bundle(tmp_path / "bundle")
    return bundle, TorchTowers(bundle)


def test_a_bundle_without_an_export_is_run_by_torch(opened):
    assert type(towers_of(opened[0])) is TorchTowers


def test_users_are_embedded_as_the_model_does(opened):
    bundle, towers = opened
    users = np.arange(tiny_bundle.NUM_USERS + 1)  # the unknown one, and one without a history
    rows, times = bundle.history.last(users, towers.length)
    assert (rows == 7).any()  # which was not trained
    features = bundle.model.users.gather(torch.from_numpy(users))
    found = towers.embed_users(features, rows, times, NOW)
    with torch.inference_mode():
        expected = bundle.model.encode_users(UserBatch(*map(torch.from_numpy, (users, rows, times, NOW))))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert found.dtype == np.float32


def test_items_are_embedded_as_the_model_does(opened):
    bundle, towers = opened
    records = [{"title": "RED CUP", "price": 3.0, "tags": ["home"]}, {}]
    encoded = bundle.model.items.encode(records)
    embeddings, history_vectors = towers.embed_items(encoded)
    with torch.inference_mode():
        expected = bundle.model.encode_item_features(encoded).numpy()
    np.testing.assert_array_equal(embeddings, expected)
    tower = bundle.model.history.config.items == "tower"
    np.testing.assert_array_equal(
        history_vectors, expected[:, :-1] if tower else np.zeros_like(history_vectors)
    )


def test_appended_items_count_where_histories_read_item_towers(opened, monkeypatch):
    monkeypatch.setattr("twotower.bundle.exported.SPARE_ROWS", 1)
    bundle, towers = opened[0], TorchTowers(opened[0])
    tower = bundle.model.history.config.items == "tower"
    records = [{"title": f"RED CUP {n}", "price": float(n)} for n in range(40)]
    encoded = bundle.model.items.encode(records)
    for part in range(0, 40, 8):  # in parts, so that the room for them grows several times
        chunk = {name: values[part : part + 8] for name, values in encoded.items()}
        towers.append(towers.embed_items(chunk)[1])
    for name, values in encoded.items():
        known = bundle.model.items.get_buffer(PREFIX + name)
        setattr(bundle.model.items, PREFIX + name, torch.cat([known, values]))
    bundle.model.items.num_rows += 40
    rows = np.array([[0, 0, 3, 61, 100], [0, 0, 0, 3, 0]])
    times = np.where(rows > 0, tiny_bundle.NOW, 0)
    features = bundle.model.users.gather(torch.zeros(2, dtype=torch.int64))
    found = towers.embed_users(features, rows, times, NOW[:2])
    with torch.inference_mode():
        expected = bundle.model.encode_users(
            UserBatch.from_features(features, *map(torch.from_numpy, (rows, times, NOW[:2])))
        ).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert tower == bool(
        np.abs(found[0] - towers.embed_users(features, rows * (rows < 61), times, NOW[:2])[0]).max() > 1e-4
    )
