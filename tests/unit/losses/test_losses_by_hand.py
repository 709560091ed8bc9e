"""Every loss on numbers that were worked out with pencil and paper.

One user (1, 0); positive (.6, .8), score .6; candidates (1, 0), score 1, drawn twice, and (0, 1), score 0,
drawn once. q = .25, .5, .125. With temperature .5 the logits are 1.2, 2 and 0.
"""

import math
from typing import Any

import pytest
import torch
from scoring_cases import logits_of, negatives_of
from scoring_cases import loss_of as loss_of_embeddings
from torch import Tensor

from twotower.losses.bce import Bce
from twotower.losses.bpr import Bpr
from twotower.losses.bsl import FLOOR, Bsl
from twotower.losses.ccl import Ccl
from twotower.losses.corrected_log_q import CorrectedLogQ
from twotower.losses.gbce import Gbce
from twotower.losses.hinge import Hinge
from twotower.losses.loss import Loss
from twotower.losses.psl import Psl
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.losses.sl_at_k import SlAtK
from twotower.negatives.sampler import Negatives
from twotower.scoring.scorer import Scorer, Temperature

E_POSITIVE = 3.320117  # e ** 1.2
E_TWO = 7.389056
SOFTPLUS_MINUS_POSITIVE = 0.263283  # log(1 + e ** -1.2)
SOFTPLUS_TWO, SOFTPLUS_ZERO = 2.126928, 0.693147


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


@pytest.mark.parametrize("learned", [False, True])
def test_softmax_corrects_after_the_temperature(learned: bool) -> None:
    # s+ = 1.2 - log .25; s1 = 2 - log .5, twice; s2 = 0 - log .125
    expected = math.log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25))
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.5, learned_temperature=learned))
    assert loss_of(loss) == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(1.342324, abs=1e-5)


def test_softmax_is_none_of_the_plausible_mistakes() -> None:
    got = loss_of(SampledSoftmax(SampledSoftmax.Config(temperature=0.5)))
    log = math.log

    def cross_entropy(positive: float, *negatives: tuple[int, float]) -> float:
        total = math.exp(positive) + sum(count * math.exp(logit) for count, logit in negatives)
        return log(total) - positive

    before = cross_entropy(
        (0.6 - log(0.25)) / 0.5, (2, (1.0 - log(0.5)) / 0.5), (1, (0.0 - log(0.125)) / 0.5)
    )
    wrong_sign = cross_entropy(1.2 + log(0.25), (2, 2 + log(0.5)), (1, log(0.125)))
    positive_uncorrected = cross_entropy(1.2, (2, 2 - log(0.5)), (1, -log(0.125)))
    each_once = cross_entropy(1.2 - log(0.25), (1, 2 - log(0.5)), (1, -log(0.125)))
    for mistaken in (before, wrong_sign, positive_uncorrected, each_once):
        assert abs(got - mistaken) > 0.05


def test_softmax_without_correction_still_counts_draws() -> None:
    expected = math.log((E_POSITIVE + 2 * E_TWO + 1) / E_POSITIVE)
    assert loss_of(
        SampledSoftmax(SampledSoftmax.Config(temperature=0.5, log_q_correction=False))
    ) == pytest.approx(expected, abs=1e-5)


def test_softmax_leaves_masked_candidates_out() -> None:
    expected = math.log((E_POSITIVE / 0.25 + 1 / 0.125) / (E_POSITIVE / 0.25))
    assert loss_of(SampledSoftmax(SampledSoftmax.Config(temperature=0.5)), masked=(0,)) == pytest.approx(
        expected, abs=1e-5
    )
    assert loss_of(SampledSoftmax(SampledSoftmax.Config(temperature=0.5)), masked=(0, 1)) == pytest.approx(
        0, abs=1e-6
    )


def test_bce_is_one_yes_against_the_mean_no() -> None:
    mean_no = (2 * SOFTPLUS_TWO + SOFTPLUS_ZERO) / 3
    assert loss_of(Bce(Bce.Config(temperature=0.5))) == pytest.approx(
        SOFTPLUS_MINUS_POSITIVE + mean_no, abs=1e-5
    )
    assert loss_of(Bce(Bce.Config(temperature=0.5, negative_weight=2.5))) == pytest.approx(
        SOFTPLUS_MINUS_POSITIVE + 2.5 * mean_no, abs=1e-5
    )


def test_bce_means_over_the_negatives_that_are_left() -> None:
    assert loss_of(Bce(Bce.Config(temperature=0.5)), masked=(0,)) == pytest.approx(
        SOFTPLUS_MINUS_POSITIVE + SOFTPLUS_ZERO, abs=1e-5
    )
    assert loss_of(Bce(Bce.Config(temperature=0.5)), masked=(0, 1)) == pytest.approx(
        SOFTPLUS_MINUS_POSITIVE, abs=1e-5
    )


EYE = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
"""Logits 2 and 0 for the user."""
NONE = torch.empty(0, 2)


def with_impressions(
    loss: Loss, weights: list[float], positives: Tensor, items: Tensor, impressions: Tensor
) -> float:
    users = USER.repeat(len(weights), 1)
    negatives = negatives_of(len(items), len(positives))
    return loss_of_embeddings(
        loss, users, positives, items, negatives, weights=torch.tensor(weights), impressions=impressions
    ).item()


def test_bce_takes_impressions_as_examples_with_their_weights() -> None:
    loss = Bce(Bce.Config(temperature=0.5, negative_weight=9.0))
    expected = (SOFTPLUS_MINUS_POSITIVE + 2 * SOFTPLUS_TWO + 5 * SOFTPLUS_ZERO) / 8
    assert with_impressions(loss, [1.0, 2.0, 5.0], POSITIVE, NONE, EYE) == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(0.997859, abs=1e-5)


def test_bce_joins_impressions_and_sampled_negatives() -> None:
    """The sampled ones belong to their positive; an impression has none of them."""
    loss = Bce(Bce.Config(temperature=0.5))
    expected = (3 * (SOFTPLUS_MINUS_POSITIVE + SOFTPLUS_ZERO) + SOFTPLUS_TWO) / 4
    assert with_impressions(loss, [3.0, 1.0], POSITIVE, EYE[1:], EYE[:1]) == pytest.approx(expected, abs=1e-5)


def test_bce_of_impressions_alone() -> None:
    loss = Bce(Bce.Config(temperature=0.5))
    got = with_impressions(loss, [1.0, 3.0], NONE, NONE, EYE)
    assert got == pytest.approx((SOFTPLUS_TWO + 3 * SOFTPLUS_ZERO) / 4, abs=1e-5)


def with_query(loss: Loss, rows: list[int], items: Tensor = NONE, **more: Any) -> float:
    of_query = {"query_rows": torch.tensor([rows]), "query_log_q": torch.zeros(1, 2)}
    negatives = negatives_of(len(items), 1, **of_query | more)
    return loss_of_embeddings(loss, USER, POSITIVE, items, negatives, query=EYE[None]).item()


def test_softmax_ranks_against_query_negatives_alone() -> None:
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.5))
    both = math.log((E_POSITIVE + E_TWO + 1) / E_POSITIVE)
    assert with_query(loss, [3, 7]) == pytest.approx(both, abs=1e-5)
    one = math.log((E_POSITIVE + E_TWO) / E_POSITIVE)
    assert with_query(loss, [3, 0]) == pytest.approx(one, abs=1e-5)
    assert with_query(loss, [0, 0]) == pytest.approx(0, abs=1e-6)


def test_softmax_counts_a_query_negative_as_one_draw_more() -> None:
    # s+ = 1.2 - log .25; a draw of (1, 0) and the query negative: 2 - log .5 each; (0, 1): 0 - log .125
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.5))
    got = with_query(
        loss,
        [3, 7],
        EYE[:1],
        log_q=torch.tensor([0.5]).log(),
        positive_log_q=torch.tensor([0.25]).log(),
        query_log_q=torch.tensor([[0.5, 0.125]]).log(),
    )
    expected = math.log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25))
    assert got == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.004, 0.07, 1.0, 25.0])
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


def test_bpr_by_hand() -> None:
    # s_j - s+ = .8 twice and -1.2 once
    expected = (2 * 1.171101 + SOFTPLUS_MINUS_POSITIVE) / 3
    assert loss_of(Bpr(Bpr.Config(temperature=0.5))) == pytest.approx(expected, abs=1e-5)


def test_hinge_by_hand() -> None:
    # max(0, .5 - .6 + 1) twice, max(0, .5 - .6 + 0) once
    assert loss_of(Hinge(Hinge.Config(margin=0.5))) == pytest.approx(2 * 0.9 / 3, abs=1e-6)


def test_ccl_by_hand() -> None:
    # 1 - .6, and 1.5 times the mean of 1 - .4 twice and nothing once
    assert loss_of(Ccl(Ccl.Config(margin=0.4, negative_weight=1.5))) == pytest.approx(0.4 + 0.6, abs=1e-6)


def test_gbce_of_the_whole_catalogue_is_the_cross_entropy() -> None:
    expected = (SOFTPLUS_MINUS_POSITIVE + 2 * SOFTPLUS_TWO + SOFTPLUS_ZERO) / 4
    assert loss_of(Gbce(Gbce.Config(temperature=0.5))) == pytest.approx(expected, abs=1e-5)


def test_psl_by_hand() -> None:
    # 1 + tanh(.4) = 1.379949, squared, twice; 1 + tanh(-.6) = .462950, squared, once
    expected = math.log(1 + 2 * 1.379949**2 + 0.462950**2)
    assert loss_of(Psl(Psl.Config(temperature=0.5))) == pytest.approx(expected, abs=1e-5)


def test_sl_at_k_by_hand() -> None:
    cross_entropy = math.log((E_POSITIVE + 2 * E_TWO + 1) / E_POSITIVE)
    for k, threshold in ((1, 1.0), (2, 0.6), (3, 0.0)):  # scores 1, .6 (the positive's), 0
        weight = 1 / (1 + math.exp(-(0.6 - threshold) / 0.25))
        loss = SlAtK(SlAtK.Config(k=k, temperature=0.5, weight_temperature=0.25))
        assert loss_of(loss) == pytest.approx(weight * cross_entropy, abs=1e-5)
    assert loss_of(SlAtK(SlAtK.Config(k=4, temperature=0.5))) == pytest.approx(cross_entropy, abs=1e-5)


def test_bsl_by_hand() -> None:
    config = Bsl.Config(temperature=0.5, negative_weight=1.1, log_q_correction=False)
    expected = -1.2 + 1.1 * math.log(2 * E_TWO + 1)
    assert loss_of(Bsl(config)) == pytest.approx(expected, abs=1e-5)
    assert loss_of(Bsl(config), masked=(0, 1)) == pytest.approx(-1.2 + 1.1 * FLOOR, abs=1e-4)


def test_the_corrected_log_q_estimates_the_catalogue_s_sum() -> None:
    # 8 draws: e^2 / .5 twice and 1 / .125 once, over 8; the positive's own term stays as it is
    drawn = {"num_draws": 8}
    expected = math.log((E_POSITIVE + (2 * E_TWO / 0.5 + 1 / 0.125) / 8) / E_POSITIVE)
    loss = CorrectedLogQ(CorrectedLogQ.Config(temperature=0.5))
    assert loss_of(loss, **drawn) == pytest.approx(expected, abs=1e-5)
