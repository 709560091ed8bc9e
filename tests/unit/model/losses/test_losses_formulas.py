"""Losses of several parts, and slopes that no number worked out by hand shows, against plain formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoring_cases import loss_of, negatives_of
from torch import Tensor
from torch.nn import functional as F

from twotower.model.losses.bpr import Bpr
from twotower.model.losses.bsl import Bsl
from twotower.model.losses.ccl import Ccl
from twotower.model.losses.corrected_log_q import CorrectedLogQ
from twotower.model.losses.direct_au import DirectAu
from twotower.model.losses.loss import Loss
from twotower.model.losses.matryoshka import Matryoshka
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.negatives.sampler import Negatives
from twotower.model.scoring.scorer import Scorer

D, DRAWS, ITEMS = 4, 60, 100
TEMPERATURE = torch.tensor(math.log(0.4)).double().exp().item()
"""Of the losses, whose parameter is its logarithm in single precision."""
Formula = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(positive [P], scores [P, C + O], counts [P, C + O] with 0 where masked, log q [P, C + O], log q+ [P],
number of draws)."""


def corrected(
    positive: Tensor, scores: Tensor, counts: Tensor, log_q: Tensor, log_q_positive: Tensor, _: Tensor
) -> Tensor:
    """The paper's: its loss is another number, its slopes are the ones that count."""
    negatives = (counts * (scores / TEMPERATURE - log_q).exp()).sum(1) / DRAWS
    share = (positive / TEMPERATURE).exp() / ((positive / TEMPERATURE).exp() + negatives)
    return (1 - share).detach() * (-positive / TEMPERATURE + negatives.clamp(min=1e-300).log())


def softmax(
    positive: Tensor, scores: Tensor, counts: Tensor, log_q: Tensor, log_q_positive: Tensor, _: Tensor
) -> Tensor:
    own = (positive / TEMPERATURE - log_q_positive).exp()
    return -(own / (own + (counts * (scores / TEMPERATURE - log_q).exp()).sum(1))).log()


def sides(num_positives: int, num_candidates: int, num_own: int) -> list[Tensor]:
    shapes = ((num_positives, D), (num_positives, D), (num_candidates, D), (num_positives, num_own, D))
    return [torch.randn(shape, dtype=torch.float64).mul_(0.5).requires_grad_() for shape in shapes]


def drawn(num_positives: int, num_negatives: int, num_query: int) -> tuple[Negatives, Tensor]:
    """Negatives, and which pairs are masked."""
    shapes = ((num_negatives,), (num_positives,), (num_positives, num_query))
    log_q = [torch.rand(shape, dtype=torch.float64).log() for shape in shapes]
    negatives = Negatives(
        torch.arange(1, num_negatives + 1),
        torch.randint(1, 5, (num_negatives,)).double().log(),
        *log_q[:2],
        DRAWS,
        torch.randint(0, 3, (num_positives, num_query)),
        log_q[2],
    )
    return negatives, (torch.rand(num_positives, num_negatives) < 0.3).nonzero().T


def plain(formula: Formula, given: list[Tensor], negatives: Negatives, masked: Tensor) -> Tensor:
    users, positives, items, query = given
    assert negatives.query_rows is not None
    assert negatives.query_log_q is not None
    scores = users @ items.T
    mask = torch.zeros_like(scores, dtype=torch.bool)
    mask[masked[0], masked[1]] = True
    counts = (negatives.log_multiplicity.exp() * ~mask, (negatives.query_rows > 0).double())
    log_q = torch.cat([negatives.log_q.expand(len(users), -1), negatives.query_log_q], 1)
    joined = torch.cat([scores, (users[:, None] * query).sum(-1)], 1)
    positive, draws = (users * positives).sum(1), negatives.log_multiplicity.exp().sum() + query.shape[1]
    return formula(positive, joined, torch.cat(counts, 1), log_q, negatives.positive_log_q, draws)


@given(
    sizes=st.sampled_from([(1, 1, 0), (1, 0, 2), (2, 5, 0), (5, 3, 1), (6, 9, 2)]),
    seed=st.integers(0, 1000),
)
def test_the_slopes_of_the_corrected_log_q_are_those_of_the_paper(
    sizes: tuple[int, int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    loss = CorrectedLogQ(CorrectedLogQ.Config(temperature=0.4))
    given_, (negatives, masked) = sides(*sizes), drawn(*sizes)
    weights = torch.rand(sizes[0], dtype=torch.float64) + 0.1
    got = loss_of(loss, *given_[:3], negatives, masked=masked, weights=weights, query=given_[3])
    expected = (plain(corrected, given_, negatives, masked) * weights).sum() / weights.sum()
    slopes = (torch.autograd.grad(3 * each, given_, allow_unused=True) for each in (got, expected))
    for left, right in zip(*slopes, strict=True):
        torch.testing.assert_close(left, torch.zeros_like(left) if right is None else right)


def test_a_learned_temperature_has_the_gradient_of_the_formula() -> None:
    torch.manual_seed(6)
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.4, learned_temperature=True))
    scorer = Scorer(loss.config.scoring(), 10_000).double()
    assert scorer.temperature is not None
    given_, (negatives, masked) = sides(5, 6, 0), drawn(5, 6, 0)
    got = loss_of(loss, *given_[:3], negatives, masked=masked, query=given_[3], scorer=scorer)
    logarithm = scorer.temperature.logarithm
    scaled = [given_[0] * TEMPERATURE / logarithm.exp(), *given_[1:]]
    expected = plain(softmax, scaled, negatives, masked).mean()
    torch.testing.assert_close(torch.autograd.grad(got, logarithm), torch.autograd.grad(expected, logarithm))


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_direct_au_is_alignment_and_uniformity_by_pairwise_distances() -> None:
    torch.manual_seed(4)
    raw = [vectors(7, D).requires_grad_() for _ in range(2)]
    users, positives = (F.normalize(each, dim=1) for each in raw)
    loss = DirectAu(DirectAu.Config(uniformity_weight=3.0))
    got = loss_of(loss, users, positives, positives[:0], negatives_of(0, 7))
    spread = [torch.pdist(side).square().mul(-2).exp().mean().log() for side in (users, positives)]
    expected = (users - positives).norm(dim=1).square().mean() + 3 / 2 * sum(spread)
    torch.testing.assert_close(got, expected)
    gradients = (torch.autograd.grad(each, raw, retain_graph=True) for each in (got, expected))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("inner", [Bsl.Config(log_q_correction=False), Ccl.Config(margin=0.0)])
def test_matryoshka_sums_the_losses_of_first_columns_on_the_sphere(inner: Loss.Config) -> None:
    torch.manual_seed(5)
    given_, (negatives, masked) = sides(5, 6, 2), drawn(5, 6, 2)
    loss = Matryoshka(Matryoshka.Config(inner=inner, num_halvings=1))
    halves = [F.normalize(side[..., : D // 2], dim=-1) for side in given_]
    got, *expected = (
        loss_of(each, *sides_[:3], negatives, masked=masked, query=sides_[3])
        for each, sides_ in ((loss, given_), (loss.inner, given_), (loss.inner, halves))
    )
    torch.testing.assert_close(got, sum(expected))


def test_matryoshka_within_matryoshka_is_refused() -> None:
    inner = Matryoshka.Config(inner=Bpr.Config())
    assert not [*inner.problems()]
    (found,) = Matryoshka.Config(inner=inner).problems()
    assert found[0] == "inner"
