"""Draws and probabilities that can be counted on fingers."""

import math
from typing import Any

import pytest
import torch

from twotower.config.choice_context import ChoiceContext
from twotower.model.losses.bce import Bce
from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.negatives.catalogue import Catalogue
from twotower.model.negatives.impressions import Impressions
from twotower.model.negatives.in_batch import InBatch
from twotower.model.negatives.mined import Mined
from twotower.model.negatives.mixed import Mixed
from twotower.model.negatives.popularity_sampler import PopularitySampler
from twotower.model.negatives.sampler import NegativeSampler
from twotower.model.negatives.uniform import Uniform


def mixed(num_uniform: int) -> Mixed.Config:
    """The batch's positives and uniform draws."""
    uniform = Uniform.Config(num_negatives=num_uniform)
    return Mixed.Config(parts={"in_batch": InBatch.Config(), "uniform": uniform})


FREQUENCIES = torch.tensor([0, 0.5, 0.25, 0.125, 0.125, 0.0])  # five items, the last never a positive
POSITIVES = torch.tensor([3, 1, 3, 1, 1, 2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_uniform_q_is_one_over_the_trained_items() -> None:
    log_q = Uniform(Uniform.Config(num_negatives=3), FREQUENCIES).log_q(torch.tensor([1, 4]), num_positives=6)
    assert log_q.tolist() == pytest.approx([-math.log(4)] * 2)


def test_an_item_that_is_never_a_positive_is_never_a_candidate() -> None:
    for negatives in (
        Uniform(Uniform.Config(num_negatives=500), FREQUENCIES),
        Mixed(mixed(500), FREQUENCIES),
        Catalogue(Catalogue.Config(), FREQUENCIES),
        InBatch(InBatch.Config(), FREQUENCIES),
    ):
        assert 5 not in negatives.draw(POSITIVES, generator())[0].tolist()


def test_popularity_is_flattened_by_alpha() -> None:
    popular = PopularitySampler(PopularitySampler.Config(num_negatives=20_000, alpha=0.5), FREQUENCIES)
    roots = [0.5**0.5, 0.5, 0.125**0.5, 0.125**0.5]
    q = popular.log_q(torch.tensor([1, 2, 3, 4]), num_positives=6).exp()
    assert q.tolist() == pytest.approx([root / sum(roots) for root in roots])
    rows, count = popular.draw(POSITIVES, generator())
    assert rows.tolist() == [1, 2, 3, 4]  # and never the one that is no positive
    assert (count / 20_000).tolist() == pytest.approx(q.tolist(), abs=0.01)
    assert (
        PopularitySampler(PopularitySampler.Config(alpha=0.0), FREQUENCIES).log_q(rows, 6).exp().tolist()
        == [0.25] * 4
    )


def test_a_mixture_of_three_has_the_q_of_all_by_their_draws() -> None:
    often = PopularitySampler.Config(num_negatives=8, alpha=1.0)
    config = Mixed.Config(
        parts={"own": InBatch.Config(), "even": Uniform.Config(num_negatives=2), "a": often}
    )
    mixture = Mixed(config, FREQUENCIES)
    # of 16 draws 6 are positives and 8 by frequency, 2 even over 4 items
    q = mixture.log_q(torch.tensor([1, 3]), num_positives=6).exp()
    assert q.tolist() == pytest.approx([14 / 16 * 0.5 + 2 / 16 / 4, 14 / 16 * 0.125 + 2 / 16 / 4])
    _, count = mixture.draw(POSITIVES, generator())
    assert count.sum() == 16 == config.num_draws(6)


@pytest.mark.parametrize("part", [Catalogue.Config(), Impressions.Config(), Mined.Config()])
def test_a_mixture_of_what_does_not_draw_is_refused(part: NegativeSampler.Config) -> None:
    ((key, message),) = Mixed.Config(parts={"a": InBatch.Config(), "b": part}).problems()
    assert key == "parts.b"
    assert "in_batch, uniform or popularity" in message


def test_negatives_of_a_batch() -> None:
    negatives = InBatch(InBatch.Config(), FREQUENCIES)(POSITIVES, generator())
    assert negatives.rows.tolist() == [1, 2, 3]
    assert negatives.log_multiplicity.exp().tolist() == pytest.approx([3, 1, 2])
    assert negatives.log_q.exp().tolist() == pytest.approx([0.5, 0.25, 0.125])
    assert negatives.positive_log_q.exp().tolist() == pytest.approx([0.125, 0.5, 0.125, 0.5, 0.5, 0.25])
    assert negatives.num_draws == 6


def mined(**settings: Any) -> Mined:
    config = Mined.Config(first=2, last=4, num_mined=50, margin=0.1, **settings)
    return Mined(config, FREQUENCIES)


RANKED = (
    torch.tensor([[4, 3, 2, 1], [1, 2, 3, 0]]),
    torch.tensor([[0.9, 0.85, 0.8, 0.2], [0.3, 0.2, -0.6, -9]]),
)


def test_windows_hold_the_ranks_between_that_are_not_too_near_the_user_s_own() -> None:
    negatives = mined()
    users = torch.tensor([1, 3])
    assert negatives.query_rows(users, generator()) is None  # nothing has been searched yet
    # .9 x .9 = .81 leaves out the second rank; of a negative mean, -.5 - .05 leaves out .2
    negatives.update_hard_negatives(3, users, *RANKED, torch.tensor([0.9, -0.5]))
    assert negatives.windows.tolist() == [[0] * 3, [2, 1, 0], [0] * 3, [3, 0, 0]]
    drawn = negatives.query_rows(torch.tensor([3, 2, 1]), generator())
    assert [sorted(set(each)) for each in drawn.tolist()] == [[3], [0], [1, 2]]


def test_what_cannot_be_mined_is_refused() -> None:
    assert not [*Mined.Config().problems(ChoiceContext({"loss": SampledSoftmax.Config()}))]
    assert [key for key, _ in Mined.Config(first=9, last=8).problems()] == ["last"]
    ((_, message),) = Mined.Config().problems(ChoiceContext({"loss": Bce.Config()}))
    assert "takes no query negatives" in message
    assert [key for key, _ in Mined.Config(shared=Mined.Config()).problems()] == ["shared"]
