"""What an optimizer has gathered goes on where tables have grown, sparse ones too."""

from typing import Any

import pytest
import torch
from torch import nn

from twotower.training.optimizers.adagrad import Adagrad
from twotower.training.optimizers.adamw import AdamW
from twotower.training.optimizers.rowwise_adagrad import RowwiseAdagrad
from twotower.training.transfer_weights import optimizer_state_loader

CHOICES = [AdamW.Config(), Adagrad.Config(), RowwiseAdagrad.Config()]
ORIGINS = torch.tensor([0, 2, -1, 1])
"""Of the grown table's rows: row 3 was row 1, row 2 is new."""


def step(module: nn.Module, optimizer: torch.optim.Optimizer, rows: list[int]) -> None:
    optimizer.zero_grad()
    module(torch.tensor(rows)).square().sum().backward()
    optimizer.step()


def module_of(num_rows: int, sparse: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(num_rows, 2, sparse=sparse), nn.Linear(2, 1))


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("choice", CHOICES, ids=[choice.owner.__name__ for choice in CHOICES])
def test_known_rows_keep_what_was_gathered_and_new_ones_begin(choice: Any, sparse: bool) -> None:
    before = module_of(3, sparse)
    gathered = choice.build().optimizer(before.parameters(), [before[0].weight] if sparse else [])
    step(before, gathered, [0, 1, 1])
    module = module_of(4, sparse)
    optimizer = choice.build().optimizer(module.parameters(), [module[0].weight] if sparse else [])
    optimizer_state_loader(module, {"0.weight": ORIGINS}, gathered.state_dict())(optimizer)
    was, now = (each.state[of[0].weight] for each, of in ((gathered, before), (optimizer, module)))
    for name, values in was.items():
        if isinstance(values, torch.Tensor) and values.ndim:
            assert torch.equal(now[name][[0, 1, 3]], values[[0, 2, 1]])
            assert (now[name][2] == 0).all()
    step(module, optimizer, [0, 2])
    if "step" in now:
        assert float(now["step"]) == 2  # the state continues
