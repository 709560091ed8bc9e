"""History encoders on numbers worked out by hand."""

import pytest
import torch

from twotower.config.errors import InputError
from twotower.towers.history.history_encoder import HistoryEncoder
from twotower.towers.history.mean_pooling import MeanPooling
from twotower.towers.history.no_history import NoHistory
from twotower.towers.history.weighted_pooling import WeightedPooling

EMBEDDINGS = torch.tensor([[[0.0], [2.0], [8.0]], [[1.0], [2.0], [6.0]]])  # the first user has two items
MASK = torch.tensor([[False, True, True], [True, True, True]])
TIMES = MASK * 100
NO_HISTORY = "twotower.towers.history.no_history.NoHistory"


def test_mean_pooling() -> None:
    result = MeanPooling(MeanPooling.Config(length=3), 1).latest(EMBEDDINGS, MASK, TIMES)
    assert result.tolist() == [[5], [3]]


def test_weighted_pooling_starts_as_the_mean() -> None:
    encoder = WeightedPooling(WeightedPooling.Config(length=3), 1)
    torch.testing.assert_close(encoder.latest(EMBEDDINGS, MASK, TIMES), torch.tensor([[5.0], [3.0]]))


def test_weights_belong_to_ages() -> None:
    encoder = WeightedPooling(WeightedPooling.Config(length=3), 1)
    with torch.no_grad():  # shares 3 : 1 : 4 for the latest, the one before, the one before that
        encoder.age_logits.copy_(torch.tensor([3.0, 1.0, 4.0]).log())
    result = encoder.latest(EMBEDDINGS, MASK, TIMES)[:, 0]
    torch.testing.assert_close(result, torch.tensor([(3 * 8 + 2) / 4, (3 * 6 + 2 + 4 * 1) / 8]))


def test_a_shorter_history_uses_the_same_ages() -> None:
    encoder = WeightedPooling(WeightedPooling.Config(length=5), 1)
    with torch.no_grad():
        encoder.age_logits.copy_(torch.tensor([3.0, 1.0, 4.0, 9.0, 9.0]).log())
    latest = encoder.latest(EMBEDDINGS, MASK, TIMES)[:, 0]
    torch.testing.assert_close(latest, torch.tensor([26 / 4, 24 / 8]))


@pytest.mark.parametrize("last_item", [False, True])
def test_blocks(last_item: bool) -> None:
    encoder = MeanPooling(MeanPooling.Config(length=3, last_item=last_item), 1)
    table = torch.tensor([[0.0], [2.0], [8.0], [1.0], [6.0]])
    blocks = encoder.tower_blocks(table, torch.tensor([[0, 1, 2], [3, 1, 4]]), TIMES)
    assert {name: values.shape[1] for name, values in blocks.items()} == encoder.config.block_dims(1)
    assert blocks["history"].tolist() == [[5], [3]]
    assert ("last_item" in blocks) == last_item
    if last_item:
        assert blocks["last_item"].tolist() == [[8], [6]]


def test_power_lies_between_the_sum_and_the_mean() -> None:
    table, positions = torch.tensor([[0.0], [2.0], [8.0]]), torch.tensor([[0, 1, 2]])
    pooled = {
        power: MeanPooling(MeanPooling.Config(length=3, power=power, last_item=False), 1).tower_blocks(
            table, positions, positions
        )
        for power in (0.0, 0.5, 1.0)
    }
    assert pooled[0.0]["history"].item() == 10
    assert pooled[0.5]["history"].item() == pytest.approx(10 / 2**0.5)
    assert pooled[1.0]["history"].item() == 5


def test_no_history_is_no_block_and_reads_nothing() -> None:
    encoder = NoHistory.Config().build(8)
    assert encoder.config.block_dims(8) == {}
    assert (
        encoder.tower_blocks(torch.ones(1, 8), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0)) == {}
    )
    assert encoder.latest(EMBEDDINGS, MASK, TIMES).shape == (2, 0)
    assert (encoder.item_dim, encoder.config.reads_table, encoder.config.reads_towers) == (0, False, False)
    with pytest.raises(InputError, match=r"history\.length: .* 0, got 3"):
        HistoryEncoder.Config.from_spec({"_target_": NO_HISTORY, "length": 3}, "history")


@pytest.mark.parametrize(("items", "table", "towers"), [("table", True, False), ("tower", False, True)])
def test_a_history_says_what_it_reads(items: str, table: bool, towers: bool) -> None:
    encoder = MeanPooling(MeanPooling.Config(length=3, items=items), 8)
    assert (encoder.config.reads_table, encoder.config.reads_towers) == (table, towers)
    assert encoder.item_dim == 8
