"""Users in batches of similar history lengths: in the order given, with little padding."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation_logs import make_history, make_holdout
from test_evaluation_feature_importance import NUM_ITEMS, NUM_USERS, POOLING, TASTES, table, towers, vectors
from torch import Tensor, nn

from twotower.evaluation import evaluate_towers as module
from twotower.evaluation.evaluate_towers import encode_holdout, encode_users
from twotower.model.towers.user_batch import UserBatch

LENGTHS = [3, 0, 9, 1, 4, 0, 2, 7]


class Towers(nn.Module):
    """A user is (user row, sum of the latest items, time, context)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("trained_items", torch.ones(4, dtype=torch.bool))
        self.history = SimpleNamespace(config=SimpleNamespace(length=length, reads_towers=False))
        self.widths: list[tuple[int, int]] = []

    def encode_users(self, batch: UserBatch, _: None) -> Tensor:
        assert not self.training
        self.widths.append((len(batch.rows), batch.history_rows.shape[1]))
        context = torch.zeros_like(batch.rows) if batch.context_rows is None else batch.context_rows
        return torch.stack([batch.rows, batch.history_rows.sum(1), batch.request_times, context], 1)


@pytest.fixture(autouse=True)
def _few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES_AT_ONCE", 10)


def test_users_are_in_the_order_given_with_their_own_time_and_context() -> None:
    model = Towers(length=5).train()
    history = make_history([list(range(1, number + 1)) for number in LENGTHS])
    users = np.array([8, 3, 3, 2, 1, 5, 4, 7, 6])
    times, context = 100 + np.arange(9), 50 - np.arange(9)
    found = encode_users(model, history, users, times, context)
    assert model.training
    assert found.dtype == torch.float32
    latest = [sum(range(1, number + 1)[-5:]) for number in LENGTHS]
    expected = [[user, latest[user - 1], 100 + place, 50 - place] for place, user in enumerate(users)]
    assert found.tolist() == expected
    # The longest first; a batch is as wide as its longest history, and has at most 10 places.
    assert model.widths == [(2, 5), (2, 5), (3, 3), (2, 1)]


@pytest.mark.parametrize(("length", "width"), [(0, 0), (5, 1)])
def test_without_any_history_one_place_is_left(length: int, width: int) -> None:
    model = Towers(length).eval()
    holdout = make_holdout(targets=[[1]] * 3, histories=[[]] * 3)
    assert encode_holdout(model, holdout, np.array([2, 0]))[:, 0].tolist() == [3, 1]
    assert model.widths == [(2, width)]
    assert encode_holdout(model, holdout, np.array([], dtype=np.int64)).shape == (0, 4)


def test_items_of_histories_are_encoded_once_for_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    features = vectors("taste")
    random = np.random.default_rng(0)
    tastes = random.normal(size=(NUM_ITEMS, TASTES)).tolist()
    users = table("user_id", features, taste=random.normal(size=(NUM_USERS, TASTES)).tolist())
    history = POOLING | {"items": "tower", "length": 3}
    model = towers(users, table("item_id", features, taste=tastes), history=history)
    histories = [random.integers(1, NUM_ITEMS + 1, number % 5).tolist() for number in range(NUM_USERS)]
    holdout = make_holdout([[1]] * NUM_USERS, histories)
    alone = torch.cat([encode_holdout(model, holdout, np.array([place])) for place in range(NUM_USERS)])
    calls: list[int] = []
    encode = model.history_vectors
    monkeypatch.setattr(model, "history_vectors", lambda: calls.append(1) or encode())
    torch.testing.assert_close(encode_holdout(model, holdout, np.arange(NUM_USERS)), alone)
    assert calls == [1]
