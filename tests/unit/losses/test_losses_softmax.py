"""The softmax's own kernel against its reference, the softmax formula in `blockwise_loss`."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from twotower.losses.kernels.blockwise import blockwise_loss
from twotower.losses.kernels.softmax import SAFE, cross_entropy, softmax_loss

D = 3


def arguments(
    num_positives: int, num_candidates: int, num_own: int, scale: float, spread: float, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """What is differentiated, the constants, and own logits of which some are padding."""
    users, candidates = torch.randn(num_positives, D), torch.randn(num_candidates, D)
    positive = scale * torch.randn(num_positives)
    tensors = [each.to(dtype).requires_grad_() for each in (scale * users, candidates, positive)]
    pairs = (torch.rand(num_positives, num_candidates + 1) < 0.4).nonzero().T
    places = torch.where(pairs[1] < num_candidates, pairs[1], -1)  # some items are no candidates
    bias, weights = spread * torch.rand(num_candidates, dtype=dtype), 0.1 + torch.rand(num_positives)
    own = torch.randn(num_positives, num_own, dtype=dtype)
    own = own.masked_fill(torch.rand(own.shape) < 0.3, -torch.inf).requires_grad_()
    return tensors, [bias, pairs[0].contiguous(), places, weights.to(dtype)], own if num_own else None


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 35), st.integers(0, 3)),
    scale_and_low=st.sampled_from([(0.0, True), (1.0, True), (1.0, False), (30.0, False), (3000.0, False)]),
    spread=st.sampled_from([0.0, 5.0, SAFE - 1, SAFE * 3]),
    block=st.sampled_from([1, 400, 1 << 20]),
    seed=st.integers(0, 1000),
)
def test_loss_and_gradients_are_the_reference_s(
    sizes: tuple[int, int, int], scale_and_low: tuple[float, bool], spread: float, block: int, seed: int
) -> None:
    torch.manual_seed(seed)
    scale, low = scale_and_low  # float32 rounds large logits
    dtype = torch.float32 if low else torch.float64
    tensors, constants, own = arguments(*sizes, scale, spread, dtype)
    wanted = tensors if own is None else [*tensors, own]
    got = softmax_loss(*tensors, *constants, own, block_bytes=block)
    expected = blockwise_loss(cross_entropy, *tensors, *constants, own)
    bounds = {"rtol": 1e-5, "atol": 1e-5} if low else {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(got, expected, **bounds)
    gradients = (torch.autograd.grad(2 * loss, wanted) for loss in (got, expected))
    torch.testing.assert_close(*gradients, **bounds)


@pytest.mark.parametrize("longest", [1.0, SAFE * 4])
def test_gradcheck(longest: float) -> None:
    torch.manual_seed(1)
    tensors, constants, _ = arguments(7, 5, 0, 1.0, 2.0, torch.float64)
    own = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        tensors[1][0] *= longest / tensors[1][0].norm()
    assert torch.autograd.gradcheck(
        lambda *each: softmax_loss(*each[:3], *constants, each[3]), [*tensors, own]
    )


def test_two_runs_are_the_same_to_the_last_bit() -> None:
    torch.manual_seed(2)
    tensors, constants, own = arguments(300, 500, 2, 3.0, 5.0, torch.float32)
    runs = []
    for _ in range(2):
        loss = softmax_loss(*tensors, *constants, own, block_bytes=1 << 15)
        runs.append((loss, *torch.autograd.grad(loss, tensors)))
    assert all(torch.equal(left, right) for left, right in zip(*runs, strict=True))


def test_a_positive_whose_candidates_are_all_masked_has_no_loss() -> None:
    users = torch.ones(1, D, requires_grad=True)
    candidates = 50.0 * torch.ones(2, D)
    masked = torch.zeros(2, dtype=torch.int64), torch.arange(2)
    loss = softmax_loss(users, candidates, torch.tensor([-3.0]), torch.zeros(2), *masked, torch.ones(1))
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, users)[0] == 0).all()


def test_what_is_subtracted_in_bfloat16_is_added_as_it_was() -> None:
    users = torch.tensor([[1.0, 0.0, 0.0]])
    candidates = torch.tensor([[100.0, 0.0, 0.0]])  # times log2(e), 1.4453 in bfloat16, it is 145 there
    none = torch.zeros(0, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = softmax_loss(users, candidates, torch.zeros(1), torch.zeros(1), none, none, torch.ones(1))
    assert loss.item() == pytest.approx(145 * math.log(2), abs=1e-4)
