"""What the towers rank first is told to negatives, by row, without what users have or training never saw."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from twotower.data.actions import HISTORY, POSITIVE, TRAIN
from twotower.data.interactions import Interactions
from twotower.model.negatives.mined import Mined
from twotower.model.towers.user_batch import UserBatch
from twotower.training.callbacks.hard_negative_refresh import refresh_hard_negatives

FREQUENCIES = torch.tensor([0, 0.25, 0.25, 0.25, 0.25, 0.0])  # item 5 is never a positive
LOG = Interactions.from_rows(
    np.array([1, 2, 2, 3]), np.array([1, 3, 4, 2]), np.array([1, 1, 2, 1]), num_users=4
)


class Rows(nn.Module):
    """Towers whose embeddings are rows of two tables, one number each."""

    trained_items = FREQUENCIES > 0
    history = SimpleNamespace(config=SimpleNamespace(length=0, reads_towers=False))
    users = torch.tensor([[0.0], [1], [-1], [1], [1]])
    items = torch.tensor([[0.0], [0.5], [0.4], [0.3], [0.2], [0.9]])

    def encode_items(self, rows: Tensor) -> Tensor:
        return self.items[rows]

    def encode_users(self, batch: UserBatch, _: None) -> Tensor:
        return self.users[batch.rows]


def windows(log: Interactions) -> list[list[int]]:
    """Return the windows of each user row after a search."""
    negatives = Mined(Mined.Config(first=1, last=3, margin=0.0), FREQUENCIES)
    refresh_hard_negatives(
        SimpleNamespace(model=Rows(), negatives=negatives, device=torch.device("cpu")), log
    )
    found: list[list[int]] = negatives.windows.tolist()
    return found


def test_windows_are_of_what_each_user_does_not_have() -> None:
    assert windows(LOG) == [
        [0, 0, 0],
        [2, 3, 4],  # scores .4, .3, .2 beside its own .5
        [2, 1, 0],  # -.4, -.5 beside a mean of -.25; it has the others
        [3, 4, 0],  # item 1 scores .5, above its own .4
        [0, 0, 0],  # nobody
    ]


def test_items_without_an_example_do_not_count_as_those_of_a_user() -> None:
    log = Interactions.from_rows(np.array([1, 1, 2]), np.array([1, 5, 5]), np.ones(3), num_users=2)
    assert windows(log)[1] == [2, 3, 4]  # below the .5 of item 1


def test_examples_that_are_no_targets_are_no_negatives() -> None:
    roles = np.array([POSITIVE, TRAIN, HISTORY], dtype=np.int8)
    log = Interactions.from_rows(
        np.array([1, 1, 1]), np.array([1, 2, 3]), np.ones(3), num_users=1, roles=roles
    )
    assert windows(log)[1:] == [[3, 4, 0]]
