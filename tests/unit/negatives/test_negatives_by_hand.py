"""Draws and probabilities that can be counted on fingers."""

import math

import pytest
import torch

from twotower.negatives.catalogue import Catalogue
from twotower.negatives.in_batch import InBatch
from twotower.negatives.mixed import Mixed
from twotower.negatives.uniform import Uniform

FREQUENCIES = torch.tensor([0, 0.5, 0.25, 0.125, 0.125, 0.0])  # five items, the last never a positive
POSITIVES = torch.tensor([3, 1, 3, 1, 1, 2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_in_batch_draws_the_positives_with_their_counts() -> None:
    rows, count = InBatch(InBatch.Config(), FREQUENCIES).draw(POSITIVES, generator())
    assert rows.tolist() == [1, 2, 3]
    assert count.tolist() == [3, 1, 2]


def test_in_batch_q_is_the_frequency() -> None:
    log_q = InBatch(InBatch.Config(), FREQUENCIES).log_q(torch.tensor([1, 3]), num_positives=6)
    assert log_q.exp().tolist() == pytest.approx([0.5, 0.125])
    never = InBatch(InBatch.Config(), FREQUENCIES).log_q(torch.tensor([5]), num_positives=6)
    assert never.isfinite().all()


def test_uniform_q_is_one_over_the_trained_items() -> None:
    log_q = Uniform(Uniform.Config(num_negatives=3), FREQUENCIES).log_q(torch.tensor([1, 4]), num_positives=6)
    assert log_q.tolist() == pytest.approx([-math.log(4)] * 2)


def test_an_item_that_is_never_a_positive_is_never_a_candidate() -> None:
    for negatives in (
        Uniform(Uniform.Config(num_negatives=500), FREQUENCIES),
        Mixed(Mixed.Config(num_uniform=500), FREQUENCIES),
        Catalogue(Catalogue.Config(), FREQUENCIES),
        InBatch(InBatch.Config(), FREQUENCIES),
    ):
        assert 5 not in negatives.draw(POSITIVES, generator())[0].tolist()


def test_mixed_q_is_the_mixture_s() -> None:
    # 6 positives and 2 uniform draws: three quarters in-batch, one quarter uniform over the 4 trained items
    log_q = Mixed(Mixed.Config(num_uniform=2), FREQUENCIES).log_q(torch.tensor([1, 3]), num_positives=6)
    expected = [0.75 * 0.5 + 0.25 / 4, 0.75 * 0.125 + 0.25 / 4]
    assert log_q.exp().tolist() == pytest.approx(expected)


def test_mixed_draws_both_parts() -> None:
    rows, count = Mixed(Mixed.Config(num_uniform=400), FREQUENCIES).draw(POSITIVES, generator())
    assert rows.tolist() == [1, 2, 3, 4]
    assert count.sum() == 406
    assert (count > 40).all()


def test_the_catalogue_is_certain() -> None:
    negatives = Catalogue(Catalogue.Config(), FREQUENCIES)
    rows, count = negatives.draw(POSITIVES, generator())
    assert rows.tolist() == [1, 2, 3, 4]
    assert count.tolist() == [1] * 4
    assert negatives.log_q(rows, num_positives=6).tolist() == [0] * 4


@pytest.mark.parametrize("kind", [InBatch, Mixed])
def test_without_a_frequency_no_q_is_provided(kind: type[InBatch]) -> None:
    assert kind.Config(frequency="none").provides == frozenset()
    for name in ("empirical", "streaming"):
        assert kind.Config(frequency=name).provides == {"log_q"}


def test_candidates_of_a_batch() -> None:
    known_positives = torch.tensor([0, 0, 1, 2, 3, 3, 4, 5])
    known_items = torch.tensor([3, 2, 1, 3, 1, 5, 1, 2])
    candidates = InBatch(InBatch.Config(), FREQUENCIES)(POSITIVES, known_positives, known_items, generator())
    assert candidates.rows.tolist() == [1, 2, 3]
    assert candidates.log_count.exp().tolist() == pytest.approx([3, 1, 2])
    assert candidates.log_q.exp().tolist() == pytest.approx([0.5, 0.25, 0.125])
    assert candidates.positive_log_q.exp().tolist() == pytest.approx([0.125, 0.5, 0.125, 0.5, 0.5, 0.25])
    assert candidates.masked_positives.tolist() == known_positives.tolist()
    assert candidates.masked_candidates.tolist() == [2, 1, 0, 2, 0, -1, 0, 1]  # item 5 is no candidate
