"""Impressions negatives alone and beside another source; what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from twotower.config.choice_context import ChoiceContext
from twotower.data.interactions import Interactions
from twotower.data.sources.synthetic import Synthetic
from twotower.model.losses.bce import Bce
from twotower.model.losses.direct_au import DirectAu
from twotower.model.losses.loss import Loss
from twotower.model.negatives.impressions import Impressions
from twotower.model.negatives.in_batch import InBatch
from twotower.model.negatives.uniform import Uniform

FREQUENCIES = torch.tensor([0.0, 0.5, 0.25, 0.25, 0.0])


def test_beside_in_batch_own_candidates_have_its_q() -> None:
    sampler = Impressions.Config(num_impressions=2, shared=InBatch.Config()).build(FREQUENCIES)
    positives, own = torch.tensor([1, 2]), torch.tensor([[3, 0], [1, 3]])
    candidates = sampler(positives, torch.Generator(), own)
    assert candidates.rows.tolist() == [1, 2]
    assert candidates.log_q.exp().tolist() == [0.5, 0.25]
    assert candidates.query_log_q.exp().tolist()[1] == [0.5, 0.25]
    assert candidates.query_log_q[0, 0].exp() == 0.25
    assert candidates.query_log_q.isfinite().all()  # of padding too


def test_alone_nothing_is_drawn_and_nothing_corrected() -> None:
    sampler = Impressions.Config().build(FREQUENCIES)
    positives = torch.tensor([1, 2])
    candidates = sampler(positives, torch.Generator(), torch.tensor([[3], [3]]))
    assert len(candidates.rows) == 0
    assert candidates.positive_log_q.tolist() == [0, 0]
    assert candidates.query_log_q.tolist() == [[0], [0]]


def context(data: Synthetic.Config, loss: type[Loss]) -> ChoiceContext:
    return ChoiceContext({"data": data, "loss": loss.Config()})


def test_what_is_refused() -> None:
    config = Impressions.Config(shared=Uniform.Config())
    assert list(config.problems(context(Synthetic.Config(labels="clicks"), Bce))) == []
    assert list(config.problems()) == []
    ((field, message),) = config.problems(context(Synthetic.Config(), Bce))
    assert field == ""
    assert "has no impressions without a click" in message
    assert "negatives=uniform" in message
    ((field, message),) = config.problems(context(Synthetic.Config(labels="clicks"), DirectAu))
    assert "does not learn from impressions" in message
    ((field, message),) = Impressions.Config(shared=Impressions.Config()).problems()
    assert field == "shared"


def test_an_item_that_is_never_wanted_has_the_q_of_the_rarest_that_is() -> None:
    """Its own frequency is 0, and the correction would make it outweigh all other candidates."""
    sampler = Impressions.Config(shared=InBatch.Config()).build(FREQUENCIES)
    positives, own = torch.tensor([1, 2]), torch.tensor([[4, 1], [0, 4]])
    candidates = sampler(positives, torch.Generator(), own)
    assert candidates.query_log_q.exp().tolist() == [[0.25, 0.5], [0.25, 0.25]]


def draw(sampler: Impressions, users: list[int], seed: int) -> list[list[int]]:
    drawn = sampler.query_rows(torch.tensor(users), torch.Generator().manual_seed(seed))
    assert drawn is not None
    return drawn.tolist()


def test_query_negatives_are_impressions_of_the_user_without_an_interaction() -> None:
    log = Interactions.from_rows(np.array([1, 1, 2, 3]), np.array([1, 2, 3, 4]), np.arange(4), 3)
    # User 1 interacted with item 1, has two impressions of 5, and one of 8 with weight 0.
    impressions = Interactions.from_rows(
        np.repeat([1, 2], [6, 1]), np.array([1, 5, 5, 6, 7, 8, 5]), np.zeros(7, int), 3
    )
    weights = np.float32([1, 1, 1, 1, 1, 0, 1])
    log = dataclasses.replace(log, impressions=dataclasses.replace(impressions, weights=weights))
    sampler = Impressions.Config(num_impressions=2).build(FREQUENCIES)
    assert sampler.query_rows(torch.tensor([1]), torch.Generator()) is None  # no interactions yet
    sampler.read_interactions(log)
    pairs = set()
    for seed in range(200):
        drawn = draw(sampler, [1, 2, 3, 1, 1], seed)
        assert drawn[1:3] == [[5, 0], [0, 0]]
        pairs |= {frozenset(drawn[row]) for row in (0, 3, 4)}
        assert draw(sampler, [1, 2, 3, 1, 1], seed) == drawn
    assert pairs == {frozenset(pair) for pair in ((5, 6), (5, 7), (6, 7))}
    more = Impressions.Config(num_impressions=5).build(FREQUENCIES)
    more.read_interactions(log)
    assert draw(more, [1], 0) == [[5, 6, 7, 0, 0]]


def test_impressions_are_equally_likely() -> None:
    log = Interactions.from_rows(np.array([1]), np.array([1]), np.zeros(1, int), 1)
    impressions = Interactions.from_rows(np.ones(10, int), np.arange(2, 12), np.zeros(10, int), 1)
    sampler = Impressions.Config(num_impressions=4).build(FREQUENCIES)
    sampler.read_interactions(dataclasses.replace(log, impressions=impressions))
    counts = np.bincount(np.ravel(draw(sampler, [1] * 5000, 7)), minlength=12)[2:]
    assert counts / 5000 == pytest.approx(np.full(10, 0.4), abs=0.03)
