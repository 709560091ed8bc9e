"""Steps of the rows that a batch touched, by hand and against dense ones."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer

from twotower.training.optimizers.adagrad import FusedAdagrad
from twotower.training.optimizers.adamw import LazyAdamW
from twotower.training.optimizers.rows import BLOCK_ROWS, touched
from twotower.training.optimizers.rowwise_adagrad import FusedRowwiseAdagrad

KINDS: dict[str, Any] = {
    "lazy AdamW": lambda weights: LazyAdamW([weights], lr=0.1, weight_decay=0.1),
    "Adagrad": lambda weights: FusedAdagrad([weights], lr=0.1),
    "row-wise Adagrad": lambda weights: FusedRowwiseAdagrad([weights], lr=0.1),
}


def sparse(rows: list[int], values: list[Any], size: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), torch.tensor(values), size, check_invariants=True)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_touched_rows_are_distinct_ascending_and_sum_to_the_gradient(rows: list[int]) -> None:
    values = torch.arange(2.0 * len(rows)).reshape(-1, 2)
    gradient = torch.sparse_coo_tensor(torch.tensor([rows]), values, (7, 2), check_invariants=True)
    distinct, sums = touched(gradient)
    assert distinct.tolist() == sorted(set(rows))
    assert torch.equal(gradient.to_dense()[distinct], sums)


def test_row_wise_adagrad_by_hand() -> None:
    weights = nn.Parameter(torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    optimizer = FusedRowwiseAdagrad([weights], lr=0.5, eps=0.0)
    # Row 2 is there twice: [3, 4] = [1, 1] + [2, 3], of mean square 12.5.
    weights.grad = sparse([2, 0, 2], [[1.0, 1.0], [2.0, 2.0], [2.0, 3.0]], (3, 2))
    optimizer.step()
    assert optimizer.state[weights]["sum"].tolist() == [4.0, 0.0, 12.5]
    root = 12.5**0.5
    wanted = [[0.5, 0.5], [2.0, 2.0], [3 - 0.5 * 3 / root, 3 - 0.5 * 4 / root]]
    torch.testing.assert_close(weights.detach(), torch.tensor(wanted))
    weights.grad = sparse([0], [[0.0, 4.0]], (3, 2))
    optimizer.step()
    assert optimizer.state[weights]["sum"].tolist() == [12.0, 0.0, 12.5]
    assert weights[0].tolist() == pytest.approx([0.5, 0.5 - 0.5 * 4 / 12**0.5])


def test_lazy_adam_by_hand() -> None:
    weights = nn.Parameter(torch.tensor([[1.0], [2.0], [4.0]]))
    optimizer = LazyAdamW([weights], lr=0.5, betas=(0.5, 0.75), eps=0.0, weight_decay=0.2)
    weights.grad = sparse([2, 0], [[8.0], [-2.0]], (3, 1))
    optimizer.step()
    # Moments over their corrections are the gradient and its square: a step of .5, after a decay of a tenth.
    assert weights.flatten().tolist() == pytest.approx([0.9 + 0.5, 2.0, 3.6 - 0.5])
    weights.grad = sparse([0], [[2.0]], (3, 1))
    optimizer.step()
    # first = .5 (-1) + .5 * 2 = .5 over 1 - .5^2; second = .75 * 1 + .25 * 4 = 1.75 over 1 - .75^2
    step = 0.5 * (0.5 / 0.75) / (1.75 / 0.4375) ** 0.5
    assert weights.flatten().tolist() == pytest.approx([1.4 * 0.9 - step, 2.0, 3.1])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_no_batch_stay_bit_for_bit_and_a_step_is_the_same_in_blocks(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    size = 3 * BLOCK_ROWS
    weights = nn.Parameter(torch.randn(size, 4, generator=generator))
    start = weights.detach().clone()
    optimizer: Optimizer = KINDS[kind](weights)
    rows = torch.randperm(size, generator=generator)[: 2 * BLOCK_ROWS]
    values = torch.randn(len(rows), 4, generator=generator)
    for _ in range(2):
        weights.grad = torch.sparse_coo_tensor(rows[None], values, (size, 4), check_invariants=True)
        optimizer.step()
    others = torch.ones(size, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(weights[others], start[others])
    few = nn.Parameter(start[rows[:5]])
    alone: Optimizer = KINDS[kind](few)
    for _ in range(2):
        few.grad = torch.sparse_coo_tensor(torch.arange(5)[None], values[:5], (5, 4), check_invariants=True)
        alone.step()
    torch.testing.assert_close(weights[rows[:5]], few)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (KINDS["lazy AdamW"], lambda weights: torch.optim.AdamW([weights], lr=0.1, weight_decay=0.1)),
        (KINDS["Adagrad"], lambda weights: torch.optim.Adagrad([weights], lr=0.1)),
    ],
)
def test_where_every_row_is_touched_a_sparse_step_is_torch_s_dense_one(ours: Any, theirs: Any) -> None:
    torch.manual_seed(0)
    weights = nn.Parameter(torch.randn(5, 3))
    twin = nn.Parameter(weights.detach().clone())
    optimizers = ours(weights), theirs(twin)
    for _ in range(5):
        gradient = torch.randn(5, 3)
        weights.grad, twin.grad = gradient.to_sparse(1), gradient
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(weights, twin)


def test_one_number_a_weight_is_rows_of_one() -> None:
    weights = nn.Parameter(torch.ones(3))
    optimizer = FusedRowwiseAdagrad([weights], lr=0.5)
    weights.grad = sparse([1, 1], [1.0, 2.0], (3,))
    optimizer.step()
    assert weights.tolist() == pytest.approx([1.0, 0.5, 1.0])


def test_what_is_planned_follows_gradients_and_loaded_states() -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = LazyAdamW([first, second], lr=0.1)
    first.grad = torch.ones(2)
    optimizer.step()
    assert second.tolist() == [1.0, 1.0]
    second.grad = torch.ones(2)
    optimizer.step()
    assert [float(optimizer.state[each]["step"]) for each in (first, second)] == [2.0, 1.0]
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert [float(optimizer.state[each]["step"]) for each in (first, second)] == [3.0, 2.0]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_gradient_of_no_rows_changes_nothing(kind: Any) -> None:
    weights = nn.Parameter(torch.ones(3, 2))
    weights.grad = torch.sparse_coo_tensor(
        torch.zeros(1, 0), torch.zeros(0, 2), (3, 2), check_invariants=True
    )
    kind(weights).step()
    assert torch.equal(weights.detach(), torch.ones(3, 2))
