"""Losses of users with several interests: the best score over them, of positives and of negatives."""

import math

import pytest
import torch
from scoring_cases import logits_of, loss_of, negatives_of
from torch import Tensor

from twotower.model.losses.bce import Bce
from twotower.model.losses.loss import Loss
from twotower.model.losses.matryoshka import Matryoshka
from twotower.model.losses.power_softmax import PowerSoftmax
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.scoring.fused_softmax import cross_entropy, mean_cross_entropy
from twotower.model.scoring.link import link
from twotower.model.scoring.scorer import ScoringConfig

P, K, C, D, H = 5, 3, 7, 4, 2
SOFTMAX = SampledSoftmax(SampledSoftmax.Config(temperature=1.0, log_q_correction=False))
LOSSES: dict[str, Loss] = {
    "softmax": SOFTMAX,
    "power": PowerSoftmax(PowerSoftmax.Config(log_q_correction=False)),
    "bce": Bce(Bce.Config(temperature=1.0)),
}


def test_a_softmax_by_hand() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    positive, negatives = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 3.0], [-1.0, -2.0]])
    loss = loss_of(SOFTMAX, users, positive, negatives, negatives_of(2, 1))
    expected = math.log(math.exp(2) + math.exp(3) + math.exp(-1)) - 2
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_reaches_the_best_interest_of_each_item_only() -> None:
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]], requires_grad=True)
    positive, negatives = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 3.0]])
    loss_of(SOFTMAX, users, positive, negatives, negatives_of(1, 1)).backward()
    share = math.exp(3) / (math.exp(2) + math.exp(3))
    expected = [[[-2 * share, -share], [0, 3 * share], [0, 0]]]
    torch.testing.assert_close(users.grad, torch.tensor(expected))


def embeddings() -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    sizes = (P, K, D), (P, D), (C, D), (P, H, D)
    return tuple(torch.randn(size, dtype=torch.float64, generator=draw).requires_grad_() for size in sizes)


@pytest.mark.parametrize("block_elements", [1, 40, 10_000])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_best_scores(name: str, block_elements: int) -> None:
    loss = LOSSES[name]
    users, positives, items, query = embeddings()
    given = negatives_of(C, P, query_rows=torch.ones(P, H, dtype=torch.int64), query_log_q=torch.zeros(P, H))
    (logits,) = logits_of(loss.config.scoring(), users, positives, items, given, query=query)
    found = logits.mean(loss, block_elements=block_elements)
    best = [(users @ items.T).amax(1), torch.einsum("pkd,phd->pkh", users, query).amax(1)]
    positive = link((users * positives[:, None]).sum(2).amax(1), logits.power)
    multiplicity = torch.ones(C + H, dtype=torch.float64)
    expected = loss(positive, link(torch.cat(best, 1), logits.power), multiplicity).mean()
    torch.testing.assert_close(found, expected)
    tensors = [users, positives, items, query]
    torch.testing.assert_close(torch.autograd.grad(found, tensors), torch.autograd.grad(expected, tensors))
    torch.testing.assert_close(loss.mean(logits), expected)  # the fused softmax too


def test_several_positives_of_a_user_and_truncations() -> None:
    users, positives, items, _ = embeddings()
    to_user = torch.tensor([0, 0, 1, 3, 3])
    inner = {"_target_": "twotower.model.losses.bce.Bce", "temperature": 1.0}
    loss = Matryoshka(Matryoshka.Config.model_validate({"inner": inner, "num_halvings": 1}))
    found = loss_of(loss, users[:4], positives, items, negatives_of(C, P), to_user=to_user)
    expected = torch.zeros((), dtype=torch.float64)
    for width in (4, 2):
        chosen, short = users[to_user][..., :width], items[:, :width]
        positive = (chosen * positives[:, None, :width]).sum(2).amax(1)
        expected = expected + loss(positive, (chosen @ short.T).amax(1), torch.ones(C)).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("block_bytes", [1, 900, 1 << 20])
@pytest.mark.parametrize("length", [1.0, 30.0])  # with the latter, exponentials would overflow
@pytest.mark.parametrize("power", [None, 4.0])
def test_the_fused_softmax_is_the_plain_one(power: float | None, length: float, block_bytes: int) -> None:
    users, positives, items, _ = embeddings()
    tensors = [users, positives, items]
    given = negatives_of(C, P, log_multiplicity=torch.arange(1.0, C + 1, dtype=torch.float64).log())
    (logits,) = logits_of(
        ScoringConfig(power=power),
        *(length * users[:4], positives, items),
        given,
        to_user=torch.tensor([0, 0, 1, 3, 3]),
        masked=torch.tensor([[0, 0, 1, 3], [2, 5, -1, 0]]),
        weights=torch.linspace(0.1, 1, P, dtype=torch.float64),
    )
    results = []
    for loss in (mean_cross_entropy(logits, block_bytes), logits.mean(cross_entropy)):
        results.append((loss, *torch.autograd.grad(loss, tensors, retain_graph=True)))
    torch.testing.assert_close(*results)
