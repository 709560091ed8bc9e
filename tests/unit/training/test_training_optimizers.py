"""Optimizers and schedules."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.training.optimizers.adagrad import Adagrad
from twotower.training.optimizers.adamw import AdamW, LazyAdamW
from twotower.training.optimizers.optimizer import OptimizerChoice

FILES = sorted((Path(__file__).parents[3] / "conf" / "optimizer").glob("**/*.yaml"))
SETTINGS: dict[str, Any] = {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1}


def test_dense_parameters_are_torch_s_bit_for_bit() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
    theirs = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1))
    theirs.load_state_dict(ours.state_dict())
    pairs: list[tuple[nn.Module, Optimizer]] = [
        (ours, LazyAdamW(ours.parameters(), **SETTINGS)),
        (theirs, torch.optim.AdamW(theirs.parameters(), fused=True, **SETTINGS)),
    ]
    for step in range(20):
        inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
        for module, optimizer in pairs:
            optimizer.zero_grad()
            module(inputs).square().mean().backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


ROWS = [[1, 1, 3], [2], [3, 1], [1], [3, 2, 2]]


def row_wise(weight: Tensor, gradients: list[Tensor]) -> Tensor:
    """AdamW as published, of the rows with a gradient only; the bias correction counts all steps."""
    (beta_1, beta_2), rate = SETTINGS["betas"], SETTINGS["lr"]
    weight, first, second = weight.clone(), torch.zeros_like(weight), torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        for row in gradient.abs().sum(1).nonzero()[:, 0].tolist():
            first[row] = beta_1 * first[row] + (1 - beta_1) * gradient[row]
            second[row] = beta_2 * second[row] + (1 - beta_2) * gradient[row] ** 2
            mean, variance = first[row] / (1 - beta_1**step), second[row] / (1 - beta_2**step)
            weight[row] *= 1 - rate * SETTINGS["weight_decay"]
            weight[row] -= rate * mean / (variance.sqrt() + 1e-8)
    return weight


def run_sparse(table: nn.Embedding, optimizer: Optimizer, steps: list[list[int]]) -> list[Tensor]:
    gradients = []
    for rows in steps:
        optimizer.zero_grad()
        (table(torch.tensor(rows)) ** 2 + table(torch.tensor(rows))).sum().backward()
        assert table.weight.grad is not None
        assert table.weight.grad.is_sparse
        gradients.append(table.weight.grad.to_dense())
        optimizer.step()
        assert table.weight.grad.is_sparse  # left where it was
    return gradients


def test_sparse_gradients_step_their_rows_only() -> None:
    torch.manual_seed(1)
    table = nn.Embedding(5, 3, sparse=True).double()
    start = table.weight.detach().clone()
    gradients = run_sparse(table, LazyAdamW(table.parameters(), **SETTINGS), ROWS)
    torch.testing.assert_close(table.weight.detach(), row_wise(start, gradients))
    assert torch.equal(table.weight[[0, 4]], start[[0, 4]])


def test_a_sparse_gradient_of_all_rows_is_a_dense_step() -> None:
    torch.manual_seed(1)
    table, twin = nn.Embedding(4, 3, sparse=True).double(), nn.Embedding(4, 3).double()
    twin.load_state_dict(table.state_dict())
    sparse, dense = (
        LazyAdamW(table.parameters(), **SETTINGS),
        torch.optim.AdamW(twin.parameters(), **SETTINGS),
    )
    run_sparse(table, sparse, [[0, 1, 2, 3]] * 4)
    for _ in range(4):
        dense.zero_grad()
        (twin.weight**2 + twin.weight).sum().backward()
        dense.step()
    torch.testing.assert_close(table.weight, twin.weight)


def test_sparse_and_dense_parameters_share_one_optimizer_and_its_state_resumes() -> None:
    def build_one() -> tuple[nn.Embedding, nn.Linear, LazyAdamW]:
        torch.manual_seed(2)
        table, layer = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1)
        return table, layer, LazyAdamW([*table.parameters(), *layer.parameters()], **SETTINGS)

    def train(parts: tuple[nn.Embedding, nn.Linear, LazyAdamW], steps: list[list[int]]) -> None:
        table, layer, optimizer = parts
        for rows in steps:
            optimizer.zero_grad()
            layer(table(torch.tensor(rows))).square().sum().backward()
            optimizer.step()

    whole, first, second = build_one(), build_one(), build_one()
    train(whole, ROWS)
    train(first, ROWS[:2])
    for part, other in zip(second, first, strict=True):
        part.load_state_dict(other.state_dict())
    train(second, ROWS[2:])
    assert torch.equal(whole[0].weight, second[0].weight)
    assert torch.equal(whole[1].weight, second[1].weight)


def test_a_closure_is_called_once_with_gradients() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = LazyAdamW([weight], lr=0.1)
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2
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


def test_cosine_falls_alone() -> None:
    shape = factors(AdamW(AdamW.Config(schedule="cosine")), 10)
    assert shape[0] == 1
    assert shape[5] == pytest.approx(0.5)
    assert shape[10] == pytest.approx(0, abs=1e-9)
    assert shape == sorted(shape, reverse=True)


def test_constant_stays() -> None:
    assert set(factors(Adagrad(Adagrad.Config()), 10)) == {1.0}


@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine"])
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_short_trainings_are_defined(schedule: Any, num_steps: int) -> None:
    choice = AdamW(AdamW.Config(schedule=schedule))
    assert all(0 <= choice.factor(step, num_steps) <= 1 for step in range(num_steps + 5))
    assert choice.factor(0, num_steps) > 0


def test_only_what_takes_sparse_gradients_says_so() -> None:
    assert AdamW.Config(weight_decay=0.1).takes_sparse
    assert Adagrad.Config().takes_sparse
    assert not Adagrad.Config(weight_decay=0.1).takes_sparse
    table = nn.Embedding(5, 3, sparse=True)
    run_sparse(table, Adagrad(Adagrad.Config()).optimizer(table.parameters()), ROWS)


def test_there_are_optimizers() -> None:
    assert len(FILES) >= 2


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
