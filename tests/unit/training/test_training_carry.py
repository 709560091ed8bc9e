"""What towers keep where data have grown by kinds of events: nothing of what was learned moves."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "towers"))
from test_towers_context import two_tower

from twotower.towers.user_batch import UserBatch
from twotower.training.transfer_weights import transfer_towers


def test_embeddings_of_events_are_carried_by_word() -> None:
    before = two_tower(events=True)  # of buy, view
    after = two_tower(num_events=3, events=True)  # of buy, cart, view
    origins = transfer_towers(after, before, torch.tensor([1, 2, 3]), torch.tensor([1, 0, 2]), None)
    learned, carried = before.event_table.weight, after.event_table.weight
    assert torch.equal(carried[[0, 1, 3]], learned)
    assert (carried[2] == 0).all()  # as an item without an event, so that nothing jumps
    assert origins["event_table.weight"].tolist() == [0, 1, -1, 2]
    rows, events = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 2]])
    asked = torch.tensor([1]), rows, rows * 0, torch.tensor([0]), torch.tensor([2])
    with torch.inference_mode():
        expected = before.encode_users(UserBatch(*asked, torch.tensor([[1, 2, 0]])))
        torch.testing.assert_close(after.encode_users(UserBatch(*asked, events)), expected)
