"""History encoders on numbers worked out by hand."""

import pytest
import torch

from twotower.config.errors import InputError
from twotower.model.towers.history.history_encoder import HistoryEncoder
from twotower.model.towers.history.mean_pooling import MeanPooling
from twotower.model.towers.history.no_history import NoHistory
from twotower.model.towers.history.weighted_pooling import WeightedPooling
from twotower.model.towers.user_batch import UserBatch

EMBEDDINGS = torch.tensor([[[0.0], [2.0], [8.0]], [[1.0], [2.0], [6.0]]])  # the first user has two items
MASK = torch.tensor([[False, True, True], [True, True, True]])
TIMES = MASK * 100
NO_HISTORY = "twotower.model.towers.history.no_history.NoHistory"


def test_weights_belong_to_ages() -> None:
    encoder = WeightedPooling(WeightedPooling.Config(length=5), 1)  # of a shorter history, the same ones
    torch.testing.assert_close(encoder.latest(EMBEDDINGS, MASK, TIMES), torch.tensor([[5.0], [3.0]]))
    with torch.no_grad():
        encoder.age_logits.copy_(torch.tensor([3.0, 1.0, 4.0, 9.0, 9.0]).log())
    latest = encoder.latest(EMBEDDINGS, MASK, TIMES)[:, 0]
    torch.testing.assert_close(latest, torch.tensor([26 / 4, 24 / 8]))


@pytest.mark.parametrize("last_item", [False, True])
def test_blocks(last_item: bool) -> None:
    encoder = MeanPooling(MeanPooling.Config(length=3, last_item=last_item), 1)
    table = torch.tensor([[0.0], [2.0], [8.0], [1.0], [6.0]])
    now = torch.tensor([200, 200])
    batch = UserBatch(now, torch.tensor([[0, 1, 2], [3, 1, 4]]), TIMES, now)
    blocks = encoder.tower_blocks(table, batch)
    assert {name: values.shape[1] for name, values in blocks.items()} == encoder.config.block_dims(1)
    assert blocks["history"].tolist() == [[5], [3]]
    assert ("last_item" in blocks) == last_item
    if last_item:
        assert blocks["last_item"].tolist() == [[8], [6]]


def test_power_lies_between_the_sum_and_the_mean() -> None:
    for power, expected in ((0.0, 10), (0.5, 10 / 2**0.5), (1.0, 5)):
        encoder = MeanPooling(MeanPooling.Config(length=3, power=power), 1)
        assert encoder.latest(EMBEDDINGS, MASK, TIMES)[0].item() == pytest.approx(expected)


def test_no_history_is_no_block_and_reads_nothing() -> None:
    encoder = NoHistory.Config().build(8)
    assert encoder.config.block_dims(8) == {}
    assert (encoder.item_dim, encoder.config.reads_table, encoder.config.reads_towers) == (0, False, False)
    with pytest.raises(InputError, match=r"history\.length: .* 0, got 3"):
        HistoryEncoder.Config.from_spec({"_target_": NO_HISTORY, "length": 3}, "history")
