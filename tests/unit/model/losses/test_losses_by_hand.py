"""Every loss on numbers that were worked out with pencil and paper.

One user (1, 0); positive (.6, .8), score .6; candidates (1, 0), score 1, drawn twice, and (0, 1), score 0,
drawn once. q = .25, .5, .125. With temperature .5 the logits are 1.2, 2 and 0.
"""

from math import log

import pytest
import torch
from scoring_cases import logits_of, negatives_of
from scoring_cases import loss_of as loss_of_embeddings
from torch import Tensor

from twotower.model.losses.bce import Bce
from twotower.model.losses.bpr import Bpr
from twotower.model.losses.bsl import FLOOR, Bsl
from twotower.model.losses.ccl import Ccl
from twotower.model.losses.corrected_log_q import CorrectedLogQ
from twotower.model.losses.gbce import Gbce
from twotower.model.losses.hinge import Hinge
from twotower.model.losses.loss import Loss
from twotower.model.losses.psl import Psl
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.negatives.sampler import Negatives
from twotower.model.scoring.scorer import Scorer, Temperature

E_POSITIVE = 3.320117  # e ** 1.2
E_TWO = 7.389056
SOFTPLUS_MINUS_POSITIVE = 0.263283  # log(1 + e ** -1.2)
SOFTPLUS_TWO, SOFTPLUS_ZERO = 2.126928, 0.693147
MEAN_NO = (2 * SOFTPLUS_TWO + SOFTPLUS_ZERO) / 3
CROSS_ENTROPY = log((E_POSITIVE + 2 * E_TWO + 1) / E_POSITIVE)

USER, POSITIVE = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])


def loss_of(loss: Loss, masked: tuple[int, ...] = (), **drawn: int) -> float:
    negatives = Negatives(
        rows=torch.tensor([3, 7]),
        log_multiplicity=torch.tensor([2.0, 1.0]).log(),
        log_q=torch.tensor([0.5, 0.125]).log(),
        positive_log_q=torch.tensor([0.25]).log(),
        **drawn,
    )
    pairs = torch.stack([torch.zeros(len(masked), dtype=torch.int64), torch.tensor(masked).long()])
    mean = loss_of_embeddings(loss, USER, POSITIVE, torch.eye(2), negatives, masked=pairs).item()
    (logits,) = logits_of(loss.config.scoring(), USER, POSITIVE, torch.eye(2), negatives, masked=pairs)
    assert logits.mean(loss).item() == pytest.approx(mean, abs=1e-5)  # the formula itself
    return mean


CASES = {
    # s+ = 1.2 - log .25; s1 = 2 - log .5, twice; s2 = 0 - log .125
    "softmax": (
        SampledSoftmax.Config(temperature=0.5),
        log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25)),
    ),
    "softmax, learned temperature": (
        SampledSoftmax.Config(temperature=0.5, learned_temperature=True),
        log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25)),
    ),
    "softmax, not corrected": (SampledSoftmax.Config(temperature=0.5, log_q_correction=False), CROSS_ENTROPY),
    "bce": (Bce.Config(temperature=0.5, negative_weight=2.5), SOFTPLUS_MINUS_POSITIVE + 2.5 * MEAN_NO),
    # s_j - s+ = .8 twice and -1.2 once
    "bpr": (Bpr.Config(temperature=0.5), (2 * 1.171101 + SOFTPLUS_MINUS_POSITIVE) / 3),
    # max(0, .5 - .6 + 1) twice, max(0, .5 - .6 + 0) once
    "hinge": (Hinge.Config(margin=0.5), 2 * 0.9 / 3),
    # 1 - .6, and 1.5 times the mean of 1 - .4 twice and nothing once
    "ccl": (Ccl.Config(margin=0.4, negative_weight=1.5), 0.4 + 0.6),
    # of the whole catalogue it is the cross-entropy
    "gbce": (Gbce.Config(temperature=0.5), (SOFTPLUS_MINUS_POSITIVE + 3 * MEAN_NO) / 4),
    # 3 draws of 12 items: beta = .25 (.75 (1 - 4) + 4) = .4375
    "gbce of 12 items": (
        Gbce(Gbce.Config(temperature=0.5), 12),
        (0.4375 * SOFTPLUS_MINUS_POSITIVE + 3 * MEAN_NO) / 4,
    ),
    # 1 + tanh(.4) = 1.379949, squared, twice; 1 + tanh(-.6) = .462950, squared, once
    "psl": (Psl.Config(temperature=0.5), log(1 + 2 * 1.379949**2 + 0.462950**2)),
    "bsl": (
        Bsl.Config(temperature=0.5, negative_weight=1.1, log_q_correction=False),
        -1.2 + 1.1 * log(2 * E_TWO + 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    config, expected = CASES[name]
    loss = config if isinstance(config, Loss) else config.build()
    assert loss_of(loss) == pytest.approx(expected, abs=1e-5)


def test_masked_candidates_do_not_count() -> None:
    softmax, bce = SampledSoftmax(SampledSoftmax.Config(temperature=0.5)), Bce(Bce.Config(temperature=0.5))
    one = log((E_POSITIVE / 0.25 + 1 / 0.125) / (E_POSITIVE / 0.25))
    assert loss_of(softmax, masked=(0,)) == pytest.approx(one, abs=1e-5)
    assert loss_of(softmax, masked=(0, 1)) == pytest.approx(0, abs=1e-6)
    assert loss_of(bce, masked=(0,)) == pytest.approx(SOFTPLUS_MINUS_POSITIVE + SOFTPLUS_ZERO, abs=1e-5)
    assert loss_of(bce, masked=(0, 1)) == pytest.approx(SOFTPLUS_MINUS_POSITIVE, abs=1e-5)
    bsl = Bsl(Bsl.Config(temperature=0.5, negative_weight=1.1, log_q_correction=False))
    assert loss_of(bsl, masked=(0, 1)) == pytest.approx(-1.2 + 1.1 * FLOOR, abs=1e-4)


def test_the_corrected_log_q_estimates_the_catalogue_s_sum() -> None:
    # 8 draws: e^2 / .5 twice and 1 / .125 once, over 8; the positive's own term stays as it is
    expected = log((E_POSITIVE + (2 * E_TWO / 0.5 + 1 / 0.125) / 8) / E_POSITIVE)
    loss = CorrectedLogQ(CorrectedLogQ.Config(temperature=0.5))
    assert loss_of(loss, num_draws=8) == pytest.approx(expected, abs=1e-5)


EYE = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
"""Logits 2 and 0 for the user."""
NONE = torch.empty(0, 2)
IMPRESSIONS = {
    "as examples with their weights": (
        (9.0, [1.0, 2.0, 5.0], POSITIVE, NONE, EYE),
        (SOFTPLUS_MINUS_POSITIVE + 2 * SOFTPLUS_TWO + 5 * SOFTPLUS_ZERO) / 8,
    ),
    # the sampled ones belong to their positive; an impression has none of them
    "and sampled negatives": (
        (1.0, [3.0, 1.0], POSITIVE, EYE[1:], EYE[:1]),
        (3 * (SOFTPLUS_MINUS_POSITIVE + SOFTPLUS_ZERO) + SOFTPLUS_TWO) / 4,
    ),
    "alone": ((1.0, [1.0, 3.0], NONE, NONE, EYE), (SOFTPLUS_TWO + 3 * SOFTPLUS_ZERO) / 4),
}


@pytest.mark.parametrize("name", IMPRESSIONS)
def test_bce_of_impressions(name: str) -> None:
    (negative_weight, weights, positives, items, impressions), expected = IMPRESSIONS[name]
    got = loss_of_embeddings(
        Bce(Bce.Config(temperature=0.5, negative_weight=negative_weight)),
        USER.repeat(len(weights), 1),
        positives,
        items,
        negatives_of(len(items), len(positives)),
        weights=torch.tensor(weights),
        impressions=impressions,
    )
    assert got.item() == pytest.approx(expected, abs=1e-5)


QUERIES: dict[str, tuple[list[int], dict[str, Tensor], float]] = {
    "both": ([3, 7], {}, log((E_POSITIVE + E_TWO + 1) / E_POSITIVE)),
    "one": ([3, 0], {}, log((E_POSITIVE + E_TWO) / E_POSITIVE)),
    "none": ([0, 0], {}, 0.0),
    # s+ = 1.2 - log .25; a draw of (1, 0) and the query negative: 2 - log .5 each; (0, 1): 0 - log .125
    "as one draw more": (
        [3, 7],
        {
            "log_q": torch.tensor([0.5]).log(),
            "positive_log_q": torch.tensor([0.25]).log(),
            "query_log_q": torch.tensor([[0.5, 0.125]]).log(),
        },
        log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25)),
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_softmax_of_query_negatives(name: str) -> None:
    rows, q, expected = QUERIES[name]
    items = EYE[:1] if q else NONE
    given = {"query_rows": torch.tensor([rows]), "query_log_q": torch.zeros(1, 2)} | q
    negatives, loss = negatives_of(len(items), 1, **given), SampledSoftmax.Config(temperature=0.5).build()
    got = loss_of_embeddings(loss, USER, POSITIVE, items, negatives, query=EYE[None])
    assert got.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.004, 25.0])
def test_a_fixed_temperature_is_what_it_says(temperature: float) -> None:
    scorer = Scorer(SampledSoftmax.Config(temperature=temperature).scoring(), 1)
    assert scorer.temperature is not None
    assert scorer.temperature.value.item() == pytest.approx(temperature, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in scorer.parameters())


def test_a_learned_temperature_moves_within_bounds_and_comes_back() -> None:
    temperature = Temperature(0.02, learned=True)
    parameter = temperature.logarithm
    embeddings = torch.ones(1, 1)
    for direction in (-1, 1):
        for _ in range(200):
            temperature(embeddings)
            parameter.grad = None
            temperature.value.backward()
            assert parameter.grad is not None
            assert parameter.grad > 0  # never stuck at a bound
            with torch.no_grad():
                parameter += direction * 0.1
        temperature(embeddings)
        assert temperature.value.item() == pytest.approx(0.01 if direction < 0 else 10.0, rel=1e-4)
