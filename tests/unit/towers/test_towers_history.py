"""History encoders on numbers worked out by hand."""

import pytest
import torch

from twotower.towers.history.mean_pooling import MeanPooling
from twotower.towers.history.weighted_pooling import WeightedPooling

EMBEDDINGS = torch.tensor([[[0.0], [2.0], [8.0]], [[1.0], [2.0], [6.0]]])  # the first user has two items
MASK = torch.tensor([[False, True, True], [True, True, True]])
TIMES = MASK * 100


def test_mean_pooling_runs() -> None:
    result = MeanPooling(1, length=3)(EMBEDDINGS, MASK, TIMES)
    assert result[..., 0].tolist() == [[0, 2, 5], [1, 1.5, 3]]


def test_weighted_pooling_starts_as_the_mean() -> None:
    encoder = WeightedPooling(1, length=3)
    torch.testing.assert_close(
        encoder(EMBEDDINGS, MASK, TIMES), MeanPooling(1, length=3)(EMBEDDINGS, MASK, TIMES)
    )


def test_weights_belong_to_ages() -> None:
    encoder = WeightedPooling(1, length=3)
    with torch.no_grad():  # shares 3 : 1 : 4 for the latest, the one before, the one before that
        encoder.weight_of_age.copy_(torch.tensor([3.0, 1.0, 4.0]).log())
    result = encoder(EMBEDDINGS, MASK, TIMES)[..., 0]
    expected = [[0, 2, (3 * 8 + 2) / 4], [1, (3 * 2 + 1) / 4, (3 * 6 + 2 + 4 * 1) / 8]]
    torch.testing.assert_close(result, torch.tensor(expected))


def test_a_shorter_history_uses_the_same_ages() -> None:
    encoder = WeightedPooling(1, length=5)
    with torch.no_grad():
        encoder.weight_of_age.copy_(torch.tensor([3.0, 1.0, 4.0, 9.0, 9.0]).log())
    latest = encoder.latest(EMBEDDINGS, MASK, TIMES)[:, 0]
    torch.testing.assert_close(latest, torch.tensor([26 / 4, 24 / 8]))


@pytest.mark.parametrize("last_item", [False, True])
def test_blocks(last_item: bool) -> None:
    encoder = MeanPooling(1, length=3, last_item=last_item)
    table = torch.tensor([[0.0], [2.0], [8.0], [1.0], [6.0]])
    blocks = encoder.blocks(table, torch.tensor([[0, 1, 2], [3, 1, 4]]), TIMES)
    assert {name: values.shape[1] for name, values in blocks.items()} == encoder.block_dims()
    assert blocks["history"].tolist() == [[5], [3]]
    assert ("last_item" in blocks) == last_item
    if last_item:
        assert blocks["last_item"].tolist() == [[8], [6]]


def test_power_lies_between_the_sum_and_the_mean() -> None:
    table, positions = torch.tensor([[0.0], [2.0], [8.0]]), torch.tensor([[0, 1, 2]])
    pooled = {
        power: MeanPooling(1, length=3, power=power, last_item=False).blocks(table, positions, positions)
        for power in (0.0, 0.5, 1.0)
    }
    assert pooled[0.0]["history"].item() == 10
    assert pooled[0.5]["history"].item() == pytest.approx(10 / 2**0.5)
    assert pooled[1.0]["history"].item() == 5
