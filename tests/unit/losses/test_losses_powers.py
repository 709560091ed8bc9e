"""Odds that are powers of scores: by hand, against the reference, and as they are ranked."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from twotower.losses.kernels import powers
from twotower.losses.kernels.blockwise import blockwise_loss
from twotower.losses.kernels.softmax import cross_entropy, softmax_loss
from twotower.towers.embedding_layout import EmbeddingLayout
from twotower.towers.item_bias.item_bias import Prior

D = 3


def test_odds_by_hand() -> None:
    scores = torch.tensor([0.0, 1.0, -1.0, 7.0], dtype=torch.float64)
    y = 1 + scores.numpy() / 2
    expected = 2 * np.log((y + np.sqrt(y**2 + powers.ROUNDING)) / 2)
    assert powers.linked(scores, 2.0).numpy() == pytest.approx(expected)
    far = torch.tensor([30.0])
    assert powers.linked(far, 1.0).exp().item() == pytest.approx(31.0, rel=1e-3)  # about 1 + s
    some = torch.tensor([-0.5, 0.7])
    difference = powers.linked(some, 1e4).diff()  # tends to the exponential
    assert difference.item() == pytest.approx(1.2 / math.sqrt(1 + powers.ROUNDING), rel=1e-3)


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 35), st.integers(0, 2)),
    power=st.sampled_from([1.0, 2.0, 3.0, 4.0, 8.0]),
    scale=st.sampled_from([0.0, 1.0, 10.0]),
    block=st.sampled_from([1, 400, 1 << 20]),
    seed=st.integers(0, 1000),
)
def test_the_kernel_is_its_reference_and_the_reference_is_the_formula(
    sizes: tuple[int, int, int], power: float, scale: float, block: int, seed: int
) -> None:
    torch.manual_seed(seed)
    num_users, num_items, num_own = sizes
    of = {"dtype": torch.float64}
    users = (scale * torch.randn(num_users, D, **of)).requires_grad_()
    items, positive = torch.randn(num_items, D, **of).requires_grad_(), torch.randn(num_users, **of)
    own = torch.randn(num_users, num_own, **of) if num_own else None
    bias, weights = torch.rand(num_items, **of), 0.1 + torch.rand(num_users, **of)
    pairs = (torch.rand(num_users, num_items) < 0.4).nonzero().T.contiguous()
    prior = Prior(torch.randn(3, num_items, **of), torch.randint(3, (num_users,)))
    given_all = (users, items, positive, bias, *pairs, weights, own, prior)
    got = softmax_loss(*given_all, None, power, block_bytes=block)
    reference = blockwise_loss(cross_entropy, *given_all, power)
    logits = powers.linked(users @ items.T, power) + bias + prior.lifts[prior.moments]
    logits = logits.index_put(tuple(pairs), torch.tensor(-torch.inf, **of))
    every = torch.cat([positive[:, None], logits, *([] if own is None else [own])], 1)
    losses = functional.cross_entropy(every, torch.zeros(num_users, dtype=torch.int64), reduction="none")
    formula = (losses * weights).sum() / weights.sum()
    for loss in (got, reference):
        torch.testing.assert_close(loss, formula)
        torch.testing.assert_close(
            *(torch.autograd.grad(each, (users, items), retain_graph=True) for each in (loss, formula))
        )


@given(st.integers(0, 1000), st.sampled_from([1.0, 4.0]), st.sampled_from([0.07, 1.0]))
def test_what_is_ranked_is_in_the_order_of_odds_times_share(
    seed: int, power: float, temperature: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    user = temperature * torch.randn(1, D, generator=rng, dtype=torch.float64)
    outputs = torch.randn(9, D, generator=rng, dtype=torch.float64)
    lifts = torch.randn(9, 1, generator=rng, dtype=torch.float64)
    layout = EmbeddingLayout(D, 1, unit=power * temperature)
    ranked = layout.ranked(torch.cat([outputs, lifts * temperature], 1))
    scores = (layout.of_users(user) @ ranked.T)[0]
    roots = 1 + (outputs @ user[0]) / temperature / power
    odds = roots.clamp(min=0) ** power * lifts[:, 0].exp()
    some = roots > 0  # below, nothing is worth showing
    assert torch.equal(scores[some].argsort(), odds[some].argsort())
    torch.testing.assert_close(layout.tower(ranked), outputs)
    others = layout.with_biases_of(ranked.numpy(), ranked.flip(0).numpy())
    expected = layout.ranked(torch.cat([outputs, lifts.flip(0) * temperature], 1))
    torch.testing.assert_close(torch.from_numpy(others), expected)
