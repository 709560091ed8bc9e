"""What every source of negatives promises, for each entry of `conf/negatives/` and its settings."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from variants import specs_of

from twotower.negatives.negatives import Negatives

N, P = 25, 40
FREQUENCIES = np.append(0.0, 1 / np.arange(2, N + 2))
FREQUENCIES /= FREQUENCIES.sum()
ALL = torch.arange(1, N + 1)


def cases() -> dict[str, dict[str, Any]]:
    specs = specs_of("negatives")
    small = dict.fromkeys(("num_negatives", "num_uniform"), 60)
    few = {
        f"{stem}, {key} 60": {**spec, key: small[key]}
        for stem, spec in specs.items()
        for key in spec.keys() & small
    }
    others = {
        f"{stem}, {frequency}": {**spec, "frequency": frequency}
        for stem, spec in specs.items()
        if "frequency" in spec
        for frequency in ("streaming", "none")
    }
    return specs | few | others


CASES = cases()


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def negatives(request: pytest.FixtureRequest) -> Negatives:
    return Negatives.Config.model_validate(request.param).build(torch.from_numpy(FREQUENCIES).float())


def positives_of(number: int, seed: int = 0) -> Tensor:
    drawn = np.random.default_rng(seed).choice(N + 1, (number, P), p=FREQUENCIES)
    return torch.from_numpy(drawn)


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws_nothing(negatives: Negatives) -> bool:
    """Shown negatives alone come with the batch; nothing else may be without candidates."""
    rows, count = negatives.draw(positives_of(1)[0], generator())
    if len(rows):
        return False
    assert negatives.config.most_shown()
    assert len(count) == 0
    assert (negatives.log_q(ALL, P) == 0).all()  # q = 1: what was shown is certain to be there
    return True


def test_there_are_negatives() -> None:
    assert len(CASES) >= 4


def test_rows_are_distinct_ascending_items_with_counts(negatives: Negatives) -> None:
    for positives in positives_of(5):
        rows, count = negatives.draw(positives, generator())
        assert rows.dtype == torch.int64
        assert (rows.diff() > 0).all()
        if draws_nothing(negatives):
            continue
        assert rows[0] >= 1  # never the unknown row
        assert rows[-1] <= N
        assert rows.shape == count.shape
        assert (count >= 1).all()


def test_it_knows_how_often_it_draws(negatives: Negatives) -> None:
    positives = positives_of(1)[0]
    told = negatives.config.num_draws(P)
    _, count = negatives.draw(positives, generator())
    if told is None:  # nothing is left to chance
        assert (negatives.log_q(ALL, P) == 0).all()
    else:
        assert told == count.sum()


def test_the_generator_s_state_decides_the_draw(negatives: Negatives) -> None:
    positives = positives_of(1)[0]
    torch.manual_seed(1)
    first = negatives.draw(positives, generator())
    torch.manual_seed(2)
    torch.rand(3)
    second = negatives.draw(positives, generator())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_q_is_what_the_draws_do(negatives: Negatives) -> None:
    if draws_nothing(negatives):
        return
    draws, counted, expected = generator(), np.zeros(N), np.zeros(N)
    for step, positives in enumerate(positives_of(800)):
        negatives.observe(positives)
        if step < 300:  # until estimates have settled
            continue
        rows, count = negatives.draw(positives, draws)
        counted[rows.numpy() - 1] += count.numpy()
        q = negatives.log_q(ALL, P).exp().double().numpy()
        # the whole catalogue is no draw but a certainty: each item once, q = 1
        expected += q * int(count.sum()) / (1.0 if q.sum() < 2 else N)
    total = expected.sum()
    if "log_q" in negatives.config.provides:
        assert total / counted.sum() == pytest.approx(1, rel=0.1)
    if (counted == counted[0]).all():
        assert expected == pytest.approx(counted)
    elif not any(buffer.numel() > 1 for buffer in negatives.state_dict().values()):  # not an estimate
        assert total == pytest.approx(counted.sum(), rel=1e-4)
        assert chisquare(counted, expected * counted.sum() / total).pvalue > 1e-3
    else:
        assert counted == pytest.approx(expected, rel=0.35)


def test_candidates_fit_together(negatives: Negatives) -> None:
    positives = positives_of(1)[0]
    known_positives = torch.arange(P).repeat_interleave(2)
    known_items = torch.stack([positives, positives % N + 1], 1).reshape(-1)
    candidates = negatives(positives, known_positives, known_items, generator())
    num_candidates = len(candidates.rows)
    assert candidates.log_count.shape == candidates.log_q.shape == (num_candidates,)
    assert candidates.positive_log_q.shape == (P,)
    for values in (candidates.log_count, candidates.log_q, candidates.positive_log_q):
        assert values.isfinite().all()
    mask = torch.zeros(P, num_candidates + 1, dtype=torch.bool)  # the last column is of items elsewhere, -1
    mask[candidates.masked_positives, candidates.masked_candidates] = True
    expected = (candidates.rows == positives[:, None]) | (candidates.rows == (positives % N + 1)[:, None])
    assert torch.equal(mask[:, :-1], expected)
    assert (candidates.masked_positives.diff() >= 0).all()
    of_positive = negatives.log_q(positives, P)
    assert torch.equal(candidates.positive_log_q, of_positive)


def test_a_batch_of_one(negatives: Negatives) -> None:
    one = torch.tensor([3])
    negatives.observe(one)
    candidates = negatives(one, torch.tensor([0]), one, generator())
    assert len(candidates.rows) >= 1 or draws_nothing(negatives)
    assert candidates.positive_log_q.isfinite().all()


def test_own_candidates_have_the_q_of_a_draw(negatives: Negatives) -> None:
    positives = positives_of(1)[0]
    own = torch.randint(0, N + 1, (P, 3), generator=generator(1))
    candidates = negatives(positives, torch.arange(P), positives, generator(), own)
    assert torch.equal(candidates.own_rows, own)
    assert candidates.own_log_q.shape == (P, 3)
    assert candidates.own_log_q.isfinite().all()
    assert torch.equal(candidates.own_log_q[own > 0], negatives.log_q(own[own > 0], P))
    without = negatives(positives, torch.arange(P), positives, generator())
    assert without.own_rows is None
    assert without.own_log_q is None
    assert torch.equal(without.rows, candidates.rows)


def test_a_batch_without_a_positive(negatives: Negatives) -> None:
    """A batch of labels may hold shown negatives alone."""
    none = torch.empty(0, dtype=torch.int64)
    negatives.observe(none)
    candidates = negatives(none, none, none, generator())
    assert candidates.positive_log_q.shape == (0,)
    assert len(candidates.masked_candidates) == 0
