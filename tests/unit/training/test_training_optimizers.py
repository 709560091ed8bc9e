"""Optimizers and schedules."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.training.optimizers.adagrad import Adagrad
from twotower.training.optimizers.adamw import AdamW
from twotower.training.optimizers.optimizer import OptimizerChoice
from twotower.training.optimizers.rowwise_adagrad import RowwiseAdagrad, SparseRowwiseAdagrad

FILES = sorted((Path(__file__).parents[3] / "conf" / "optimizer").glob("**/*.yaml"))


def sparse_gradient(rows: list[int], values: list[list[float]], num_rows: int) -> Tensor:
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), torch.tensor(values), (num_rows, len(values[0])), check_invariants=True
    )


def test_row_wise_adagrad_by_hand() -> None:
    weights = nn.Parameter(torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    optimizer = SparseRowwiseAdagrad([weights], lr=0.5, eps=0.0)
    # Row 2 occurs twice: its gradient is [3, 4], with a mean square of 12.5.
    weights.grad = sparse_gradient([2, 0, 2], [[1.0, 1.0], [2.0, 2.0], [2.0, 3.0]], 3)
    optimizer.step()
    assert optimizer.state[weights]["sum"].tolist() == [4.0, 0.0, 12.5]
    root = 12.5**0.5
    expected = [[0.5, 0.5], [2.0, 2.0], [3 - 0.5 * 3 / root, 3 - 0.5 * 4 / root]]
    torch.testing.assert_close(weights.detach(), torch.tensor(expected))


def test_adamw_decays_the_rows_of_a_sparse_gradient_only() -> None:
    weights = nn.Parameter(torch.tensor([[1.0], [2.0], [4.0]]))
    choice = AdamW.Config(learning_rate=0.5, weight_decay=0.2, beta_1=0.5, beta_2=0.75).build()
    optimizer = choice.optimizer([weights], [weights])
    weights.grad = sparse_gradient([2, 0], [[8.0], [-2.0]], 3)
    optimizer.step()
    # The first step of Adam is the learning rate, after a decay of a tenth.
    assert weights.flatten().tolist() == pytest.approx([0.9 + 0.5, 2.0, 3.6 - 0.5])


CHOICES = [AdamW.Config(weight_decay=0.1), Adagrad.Config(), RowwiseAdagrad.Config()]


@pytest.mark.parametrize("choice", CHOICES, ids=[choice.owner.__name__ for choice in CHOICES])
def test_sparse_and_dense_parameters_train_as_one_optimizer_whose_state_resumes(choice: Any) -> None:
    def build() -> tuple[nn.Embedding, nn.Linear, Optimizer, Any]:
        torch.manual_seed(2)
        table, layer = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)
        optimizer = choice.build().optimizer([*layer.parameters(), table.weight], [table.weight])
        return table, layer, optimizer, choice.build().scheduler(optimizer, 5)

    def train(parts: tuple[nn.Embedding, nn.Linear, Optimizer, Any], steps: list[list[int]]) -> None:
        table, layer, optimizer, scheduler = parts
        for rows in steps:
            optimizer.zero_grad()
            layer(table(torch.tensor(rows))).square().sum().backward()
            optimizer.step()
            scheduler.step()

    steps = [[1, 1, 3], [2], [3, 1], [1], [3, 2, 2]]
    whole, first, second = build(), build(), build()
    initial = whole[0].weight.detach().clone()
    train(whole, steps)
    train(first, steps[:2])
    for part, other in zip(second, first, strict=True):
        part.load_state_dict(other.state_dict())
    train(second, steps[2:])
    for index in (0, 1):
        assert torch.equal(whole[index].weight, second[index].weight)
    assert torch.equal(whole[0].weight[[0, 4]], initial[[0, 4]])  # in no batch
    assert (whole[0].weight[1:4] != initial[1:4]).any(1).all()


def test_a_closure_is_called_once_with_gradients() -> None:
    table, weight = nn.Embedding(2, 1, sparse=True), nn.Parameter(torch.ones(2))
    optimizer = AdamW.Config().build().optimizer([table.weight, weight], [table.weight])
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = weight.square().sum() + 0 * table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    assert calls == [1]
    assert (weight < 1).all()


def factors(choice: OptimizerChoice, num_steps: int) -> list[float]:
    return [choice.factor(step, num_steps) for step in range(num_steps + 1)]


def test_one_cycle_rises_and_falls_to_zero() -> None:
    shape = factors(AdamW(AdamW.Config(schedule="one_cycle", warmup_share=0.25)), 100)
    assert shape[0] == pytest.approx(0.04)
    assert shape[25] == 1 == max(shape)
    assert shape[100] == pytest.approx(0, abs=1e-9)
    assert shape[:26] == sorted(shape[:26])
    assert shape[25:] == sorted(shape[25:], reverse=True)
    assert shape[62] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine"])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_short_trainings_are_defined(schedule: Any, num_steps: int) -> None:
    choice = AdamW(AdamW.Config(schedule=schedule))
    assert all(0 <= choice.factor(step, num_steps) <= 1 for step in range(num_steps + 5))
    assert choice.factor(0, num_steps) > 0


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_each_choice_trains_follows_its_schedule_and_resumes(path: Path) -> None:
    choice = OptimizerChoice.Config.model_validate(yaml.safe_load(path.read_text())).build()
    num_steps = 12

    def start() -> tuple[nn.Parameter, Optimizer, Any]:
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = choice.optimizer([weight])
        return weight, optimizer, choice.scheduler(optimizer, num_steps)

    def train(parts: tuple[nn.Parameter, Optimizer, Any], steps: int) -> list[float]:
        weight, optimizer, scheduler = parts
        rates = []
        for _ in range(steps):
            optimizer.zero_grad()
            weight.square().sum().backward()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    whole, first, second = start(), start(), start()
    rates = train(whole, num_steps)
    assert rates == pytest.approx([choice.config.learning_rate * f for f in factors(choice, num_steps)[:-1]])
    assert (whole[0].detach().abs() < torch.tensor([1.0, 2.0])).all()
    train(first, 5)
    with torch.no_grad():
        second[0].copy_(first[0])
    second[1].load_state_dict(first[1].state_dict())
    second[2].load_state_dict(first[2].state_dict())
    assert train(second, 7) == rates[5:]
    assert torch.equal(second[0], whole[0])
