"""Losses and their gradients against the plain formula on the whole [P, C] matrix, by autograd."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.losses.bce import Bce
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.losses.loss import Loss
from twotower.negatives.candidates import Candidates


def naive_softmax(
    loss: SampledSoftmax, users: Tensor, positives: Tensor, items: Tensor, candidates: Candidates
) -> Tensor:
    temperature = loss.temperature.logarithm.exp()
    positive = (users * positives).sum(1) / temperature
    logits = users @ items.T / temperature + candidates.log_count
    if loss.config.log_q_correction:
        positive = positive - candidates.positive_log_q
        logits = logits - candidates.log_q
    logits = logits.masked_fill(mask_of(candidates, logits), -torch.inf)
    joined = torch.cat([positive[:, None], logits], 1)
    return F.cross_entropy(joined, torch.zeros(len(users), dtype=torch.int64), reduction="none")


def naive_bce(loss: Bce, users: Tensor, positives: Tensor, items: Tensor, candidates: Candidates) -> Tensor:
    temperature = loss.temperature.logarithm.exp()
    positive = (users * positives).sum(1) / temperature
    logits = users @ items.T / temperature
    count = candidates.log_count.exp() * ~mask_of(candidates, logits)
    no = F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")
    yes = F.binary_cross_entropy_with_logits(positive, torch.ones_like(positive), reduction="none")
    return yes + loss.config.negative_weight * (count * no).sum(1) / count.sum(1).clamp(min=1)


def mask_of(candidates: Candidates, logits: Tensor) -> Tensor:
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[candidates.masked_positives, candidates.masked_candidates] = True
    return mask


def case(num_positives: int, num_candidates: int) -> tuple[list[Tensor], Candidates, Tensor]:
    torch.manual_seed(num_positives * 100 + num_candidates)
    users, positives, items = (
        torch.randn(size, 4, dtype=torch.float64, requires_grad=True)
        for size in (num_positives, num_positives, num_candidates)
    )
    pairs = (torch.rand(num_positives, num_candidates) < 0.3).nonzero()
    candidates = Candidates(
        rows=torch.arange(1, num_candidates + 1),
        log_count=torch.randint(1, 5, (num_candidates,)).double().log(),
        log_q=torch.rand(num_candidates, dtype=torch.float64).log(),
        positive_log_q=torch.rand(num_positives, dtype=torch.float64).log(),
        masked_positives=pairs[:, 0].contiguous(),
        masked_candidates=pairs[:, 1].contiguous(),
    )
    return [users, positives, items], candidates, torch.rand(num_positives, dtype=torch.float64) + 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (6, 9), (40, 30)])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", ["softmax", "softmax uncorrected", "bce"])
def test_value_and_gradients_are_the_plain_formula_s(
    name: str, learned: bool, shape: tuple[int, int]
) -> None:
    loss: Loss
    if name == "bce":
        loss = Bce(Bce.Config(temperature=0.4, learned_temperature=learned, negative_weight=0.7)).double()
        plain = naive_bce
    else:
        corrected = name == "softmax"
        loss = SampledSoftmax(
            SampledSoftmax.Config(temperature=0.4, learned_temperature=learned, log_q_correction=corrected)
        )
        loss, plain = loss.double(), naive_softmax
    tensors, candidates, weights = case(*shape)
    wanted = [*tensors, loss.temperature.logarithm] if learned else tensors
    expected = (plain(loss, *tensors, candidates) * weights).sum() / weights.sum()
    got = loss.mean_loss(*tensors, candidates, weights)
    torch.testing.assert_close(got, expected)
    # a factor on the loss must reach the gradients, as accumulation and clipping rely on it
    torch.testing.assert_close(
        torch.autograd.grad(3 * got, wanted), torch.autograd.grad(3 * expected, wanted)
    )
