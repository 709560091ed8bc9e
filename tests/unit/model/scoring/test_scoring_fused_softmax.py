"""The fused softmax against the same logits by autograd, and both against the plain formula."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import logits_of, negatives_of
from torch import Tensor
from torch.nn import functional

from twotower.model.scoring import link
from twotower.model.scoring.fused_softmax import SAFE, cross_entropy, mean_cross_entropy
from twotower.model.scoring.logits import Logits
from twotower.model.scoring.scorer import ScoringConfig
from twotower.model.towers.embedding_layout import EmbeddingLayout
from twotower.model.towers.item_bias.item_bias import LogPriorOdds

D = 3


def case(
    counts: list[int],
    num_negatives: int,
    num_queries: int = 0,
    *,
    power: float | None = None,
    with_prior: bool = False,
    scale: float = 1.0,
    spread: float = 5.0,
    dtype: torch.dtype = torch.float64,
) -> tuple[list[Tensor], Any]:
    """Embeddings, and a function from them to logits of users with `counts` positives each."""
    to_user = torch.repeat_interleave(torch.tensor(counts))
    num_users, num_positives = len(counts), len(to_user)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype)

    tensors = [scale * random(num_users, D), random(num_positives, D), random(num_negatives, D)]
    tensors += [random(num_positives, num_queries, D)] if num_queries else []
    pairs = (torch.rand(num_users, num_negatives + 1) < 0.4).nonzero().T
    queries: dict[str, Any] = {}
    if num_queries:
        rows = torch.randint(num_negatives + 1, (num_positives, num_queries))
        queries = {"query_rows": rows, "query_log_q": torch.zeros(rows.shape, dtype=dtype)}
    negatives = negatives_of(
        num_negatives,
        num_positives,
        log_multiplicity=torch.randint(1, 4, (num_negatives,)).to(dtype).log(),
        log_q=-spread * torch.rand(num_negatives, dtype=dtype),
        positive_log_q=-torch.rand(num_positives, dtype=dtype),
        **queries,
    )
    more = {
        "masked": torch.stack([pairs[0], torch.where(pairs[1] < num_negatives, pairs[1], -1)]),
        "weights": 0.1 + torch.rand(num_positives, dtype=dtype),
        "to_user": None if max(counts) == 1 else to_user,
        "positive_rows": torch.randint(num_negatives + 1, (num_positives,)),
    }
    if with_prior:
        moments = torch.randint(3, (num_users,))
        more["prior"] = LogPriorOdds(random(3, num_negatives + 1), moments)
    config = ScoringConfig(power=power, log_q_correction="all")

    def compute(users: Tensor, positives: Tensor, items: Tensor, query: Tensor | None = None) -> Logits:
        (logits,) = logits_of(config, users, positives, items, negatives, query=query, **more)
        return logits

    return [each.requires_grad_() for each in tensors], compute


@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=7),
    sizes=st.tuples(st.integers(1, 35), st.integers(0, 3)),
    power=st.sampled_from([None, None, 1.0, 3.0, 4.0, 12.0]),
    with_prior=st.booleans(),
    scale_and_low=st.sampled_from([(0.0, True), (1.0, True), (1.0, False), (30.0, False), (3000.0, False)]),
    spread=st.sampled_from([0.0, 5.0, SAFE - 2, SAFE * 3]),
    block=st.sampled_from([1, 400, 1 << 20]),
    seed=st.integers(0, 1000),
)
def test_loss_and_gradients_are_those_of_autograd(
    counts: list[int],
    sizes: tuple[int, int],
    power: float | None,
    with_prior: bool,
    scale_and_low: tuple[float, bool],
    spread: float,
    block: int,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    scale, low = scale_and_low  # float32 rounds large logits
    tensors, compute = case(
        counts,
        *sizes,
        power=power,
        with_prior=with_prior,
        scale=min(scale, 30.0) if power else scale,
        spread=spread,
        dtype=torch.float32 if low else torch.float64,
    )
    logits = compute(*tensors)
    got, expected = mean_cross_entropy(logits, block), logits.mean(cross_entropy)
    bounds = {"rtol": 1e-4, "atol": 1e-5} if low else {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(got, expected, **bounds)
    gradients = (torch.autograd.grad(2 * loss, tensors, retain_graph=True) for loss in (got, expected))
    torch.testing.assert_close(*gradients, **bounds)


@pytest.mark.parametrize(("power", "scale"), [(16.0, 200.0), (64.0, 60.0), (64.0, 500.0)])
def test_high_powers_of_large_scores_are_finite(power: float, scale: float) -> None:
    torch.manual_seed(5)
    tensors, compute = case([2, 1, 3] * 4, 9, power=power, with_prior=True, scale=scale, dtype=torch.float32)
    whole = [each.detach().double().requires_grad_() for each in tensors]
    got, expected = mean_cross_entropy(compute(*tensors)), compute(*whole).mean(cross_entropy)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(got, tensors), torch.autograd.grad(expected, whole)
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left.double(), right, rtol=1e-3, atol=1e-5 * float(right.abs().max()))


@pytest.mark.parametrize("power", [None, 4.0])
@pytest.mark.parametrize("num_queries", [0, 2])
def test_both_are_the_plain_formula(power: float | None, num_queries: int) -> None:
    torch.manual_seed(3)
    tensors, compute = case([2, 1, 3], 9, num_queries, power=power, with_prior=True)
    logits = compute(*tensors)
    every = logits.by_positive()
    shared, prior = every.shared, every.shared.prior
    assert prior is not None
    scores = link.link(every.users @ tensors[2].T, power) + prior.table[prior.moments]
    scores = scores + shared.correction + shared.log_multiplicity
    keep = shared.false_negatives.columns >= 0
    masked = tuple(each[keep].long() for each in shared.false_negatives)
    scores = scores.index_put(masked, torch.tensor(-torch.inf, dtype=scores.dtype))
    parts = [every.positive[:, None], scores, *([] if not num_queries else [every.query_negatives])]
    losses = functional.cross_entropy(
        torch.cat(parts, 1), torch.zeros(6, dtype=torch.int64), reduction="none"
    )
    expected = (losses * every.weights).sum() / every.weights.sum()
    for got in (mean_cross_entropy(logits), logits.mean(cross_entropy)):
        torch.testing.assert_close(got, expected)
        gradients = (torch.autograd.grad(each, tensors, retain_graph=True) for each in (got, expected))
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("power", [None, 4.0])
def test_bfloat16_is_close_to_autograd(power: float | None) -> None:
    torch.manual_seed(6)
    tensors, compute = case([2, 1, 3] * 20, 80, power=power, with_prior=True, dtype=torch.float32)
    expected = compute(*tensors).mean(cross_entropy)
    with torch.autocast("cpu", torch.bfloat16):
        got = mean_cross_entropy(compute(*tensors))
    torch.testing.assert_close(got, expected, rtol=0.01, atol=0.01)
    for left, right in zip(*(torch.autograd.grad(each, tensors) for each in (got, expected)), strict=True):
        torch.testing.assert_close(left, right, rtol=0.1, atol=0.02 * float(right.abs().max()))


def test_two_runs_are_the_same_to_the_last_bit() -> None:
    torch.manual_seed(2)
    tensors, compute = case([1] * 300, 500, 2, scale=3.0, dtype=torch.float32)
    runs = []
    for _ in range(2):
        loss = mean_cross_entropy(compute(*tensors), 1 << 15)
        runs.append((loss, *torch.autograd.grad(loss, tensors)))
    assert all(torch.equal(left, right) for left, right in zip(*runs, strict=True))


def test_a_positive_whose_negatives_are_all_masked_has_no_loss() -> None:
    users = torch.ones(1, D, requires_grad=True)
    masked = torch.stack([torch.zeros(2, dtype=torch.int64), torch.arange(2)])
    (logits,) = logits_of(
        ScoringConfig(), users, -torch.ones(1, D), torch.full((2, D), 50.0), negatives_of(2, 1), masked=masked
    )
    loss = mean_cross_entropy(logits)
    assert loss.item() == 0
    assert (torch.autograd.grad(loss, users)[0] == 0).all()


def test_what_is_subtracted_in_bfloat16_is_added_as_it_was() -> None:
    users = torch.tensor([[1.0, 0.0, 0.0]])
    items = torch.tensor([[100.0, 0.0, 0.0]])  # times log2(e), 1.4453 in bfloat16, it is 145 there
    (logits,) = logits_of(ScoringConfig(), users, torch.zeros(1, D), items, negatives_of(1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_cross_entropy(logits)
    assert loss.item() == pytest.approx(145 * math.log(2), abs=1e-4)


def test_the_power_link_by_hand() -> None:
    scores = torch.tensor([0.0, 1.0, -1.0, 7.0], dtype=torch.float64)
    y = 1 + scores.numpy() / 2
    expected = 2 * np.log((y + np.sqrt(y**2 + link.ROUNDING)) / 2)
    assert link.link(scores, 2.0).numpy() == pytest.approx(expected)
    far = torch.tensor([30.0])
    assert link.link(far, 1.0).exp().item() == pytest.approx(31.0, rel=1e-3)  # about 1 + s
    some = torch.tensor([-0.5, 0.7])
    difference = link.link(some, 1e4).diff()  # tends to the exponential
    assert difference.item() == pytest.approx(1.2 / math.sqrt(1 + link.ROUNDING), rel=1e-3)


@given(st.integers(0, 1000), st.sampled_from([1.0, 4.0]), st.sampled_from([0.07, 1.0]))
def test_items_are_ranked_by_odds_times_prior(seed: int, power: float, temperature: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    user = temperature * torch.randn(1, D, generator=rng, dtype=torch.float64)
    outputs = torch.randn(9, D, generator=rng, dtype=torch.float64)
    prior = torch.randn(9, 1, generator=rng, dtype=torch.float64)
    layout = EmbeddingLayout(D, 1, neutral_bias=power * temperature)
    ranked = layout.for_ranking(torch.cat([outputs, prior * temperature], 1))
    scores = (layout.user_embeddings(user) @ ranked.T)[0]
    roots = 1 + (outputs @ user[0]) / temperature / power
    odds = roots.clamp(min=0) ** power * prior[:, 0].exp()
    some = roots > 0
    assert torch.equal(scores[some].argsort(), odds[some].argsort())
    torch.testing.assert_close(layout.tower(ranked), outputs)
    others = layout.copy_biases(ranked.numpy(), ranked.flip(0).numpy())
    expected = layout.for_ranking(torch.cat([outputs, prior.flip(0) * temperature], 1))
    torch.testing.assert_close(torch.from_numpy(others), expected)
