"""Every loss on numbers that were worked out with pencil and paper.

One user (1, 0); positive (.6, .8), score .6; candidates (1, 0), score 1, drawn twice, and (0, 1), score 0,
drawn once. q = .25, .5, .125. With temperature .5 the logits are 1.2, 2 and 0.
"""

import dataclasses
import math

import pytest
import torch

from twotower.losses.bce import Bce
from twotower.losses.bpr import Bpr
from twotower.losses.bsl import FLOOR, Bsl
from twotower.losses.ccl import Ccl
from twotower.losses.corrected_log_q import CorrectedLogQ
from twotower.losses.gbce import Gbce
from twotower.losses.hinge import Hinge
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.losses.loss import Loss
from twotower.losses.psl import Psl
from twotower.losses.sl_at_k import SlAtK
from twotower.negatives.candidates import Candidates

E_POSITIVE = 3.320117  # e ** 1.2
E_TWO = 7.389056
SOFTPLUS_MINUS_POSITIVE = 0.263283  # log(1 + e ** -1.2)
SOFTPLUS_TWO, SOFTPLUS_ZERO = 2.126928, 0.693147


def loss_of(loss: Loss, masked: tuple[int, ...] = (), **drawn: int) -> float:
    candidates = Candidates(
        rows=torch.tensor([3, 7]),
        log_count=torch.tensor([2.0, 1.0]).log(),
        log_q=torch.tensor([0.5, 0.125]).log(),
        positive_log_q=torch.tensor([0.25]).log(),
        masked_positives=torch.zeros(len(masked), dtype=torch.int64),
        masked_candidates=torch.tensor(masked, dtype=torch.int64),
        **drawn,
    )
    users, positives = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    return loss.mean_loss(users, positives, torch.eye(2), candidates, torch.ones(1)).item()


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


NO_CANDIDATES = Candidates(
    rows=torch.empty(0, dtype=torch.int64),
    log_count=torch.empty(0),
    log_q=torch.empty(0),
    positive_log_q=torch.zeros(1),
    masked_positives=torch.empty(0, dtype=torch.int64),
    masked_candidates=torch.empty(0, dtype=torch.int64),
)
SHOWN = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
"""Two shown negatives: logits 2 and 0 for the user."""


def test_bce_takes_shown_negatives_as_examples_with_their_weights() -> None:
    loss = Bce(Bce.Config(temperature=0.5, negative_weight=9.0))
    users = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    positives, none = torch.tensor([[0.6, 0.8]]), torch.empty(0, 2)
    got = loss.of_batch(users, positives, none, NO_CANDIDATES, torch.tensor([1.0, 2.0, 5.0]), SHOWN)
    expected = (SOFTPLUS_MINUS_POSITIVE + 2 * SOFTPLUS_TWO + 5 * SOFTPLUS_ZERO) / 8
    assert got.item() == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(0.997859, abs=1e-5)


def test_bce_joins_shown_and_sampled_negatives() -> None:
    """The sampled ones belong to their positive; a shown one has none of them."""
    loss = Bce(Bce.Config(temperature=0.5))
    users, positives = torch.tensor([[1.0, 0.0]]).repeat(2, 1), torch.tensor([[0.6, 0.8]])
    drawn = Candidates(
        torch.tensor([7]),
        torch.zeros(1),
        torch.zeros(1),
        torch.zeros(1),
        *torch.empty(2, 0, dtype=torch.int64),
    )
    got = loss.of_batch(users, positives, SHOWN[1:], drawn, torch.tensor([3.0, 1.0]), SHOWN[:1])
    expected = (3 * (SOFTPLUS_MINUS_POSITIVE + SOFTPLUS_ZERO) + SOFTPLUS_TWO) / 4
    assert got.item() == pytest.approx(expected, abs=1e-5)


def test_bce_of_shown_negatives_alone() -> None:
    loss = Bce(Bce.Config(temperature=0.5))
    none = torch.empty(0, 2)
    got = loss.of_batch(torch.eye(2)[[0, 0]], none, none, NO_CANDIDATES, torch.tensor([1.0, 3.0]), SHOWN)
    assert got.item() == pytest.approx((SOFTPLUS_TWO + 3 * SOFTPLUS_ZERO) / 4, abs=1e-5)


def own(rows: list[int], log_q: list[float]) -> Candidates:
    more = {"own_rows": torch.tensor([rows]), "own_log_q": torch.tensor([log_q])}
    return dataclasses.replace(NO_CANDIDATES, **more)


def test_softmax_ranks_against_own_candidates_alone() -> None:
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.5))
    users, positives, none = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.empty(0, 2)
    both = loss.mean_loss(users, positives, none, own([3, 7], [0.0, 0.0]), torch.ones(1), SHOWN[None])
    assert both.item() == pytest.approx(math.log((E_POSITIVE + E_TWO + 1) / E_POSITIVE), abs=1e-5)
    one = loss.mean_loss(users, positives, none, own([3, 0], [0.0, 0.0]), torch.ones(1), SHOWN[None])
    assert one.item() == pytest.approx(math.log((E_POSITIVE + E_TWO) / E_POSITIVE), abs=1e-5)
    no_one = loss.mean_loss(users, positives, none, own([0, 0], [0.0, 0.0]), torch.ones(1), SHOWN[None])
    assert no_one.item() == pytest.approx(0, abs=1e-6)


def test_softmax_counts_an_own_candidate_as_one_draw_more() -> None:
    # s+ = 1.2 - log .25; a draw of (1, 0) and the own one: 2 - log .5 each; the own (0, 1): 0 - log .125
    drawn = Candidates(
        torch.tensor([3]),
        torch.zeros(1),
        torch.tensor([0.5]).log(),
        torch.tensor([0.25]).log(),
        *torch.empty(2, 0, dtype=torch.int64),
        own_rows=torch.tensor([[3, 7]]),
        own_log_q=torch.tensor([[0.5, 0.125]]).log(),
    )
    users, positives = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.5))
    got = loss.mean_loss(users, positives, SHOWN[:1], drawn, torch.ones(1), SHOWN[None])
    expected = math.log((E_POSITIVE / 0.25 + 2 * E_TWO / 0.5 + 1 / 0.125) / (E_POSITIVE / 0.25))
    assert got.item() == pytest.approx(expected, abs=1e-5)
    assert expected == pytest.approx(1.342324, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.004, 0.07, 1.0, 25.0])
def test_a_fixed_temperature_is_what_it_says(temperature: float) -> None:
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=temperature))
    assert loss.temperature.value.item() == pytest.approx(temperature, rel=1e-5)
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_a_learned_temperature_moves_within_bounds_and_comes_back() -> None:
    loss = SampledSoftmax(SampledSoftmax.Config(temperature=0.02, learned_temperature=True))
    parameter = loss.temperature.logarithm
    embeddings = torch.ones(1, 1)
    for direction in (-1, 1):
        for _ in range(200):
            loss.temperature(embeddings)
            parameter.grad = None
            loss.temperature.value.backward()
            assert parameter.grad is not None
            assert parameter.grad > 0  # never stuck at a bound
            with torch.no_grad():
                parameter += direction * 0.1
        loss.temperature(embeddings)
        assert loss.temperature.value.item() == pytest.approx(0.01 if direction < 0 else 10.0, rel=1e-4)


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
