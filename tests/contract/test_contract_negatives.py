"""What every source of negatives promises, for each entry of `conf/negatives/` and its settings."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from variants import specs_of

from twotower.model.losses.sampled_softmax import SampledSoftmax
from twotower.model.negatives.sampler import Negatives, NegativeSampler
from twotower.model.scoring.batch import Batch
from twotower.model.scoring.scorer import Scorer
from twotower.model.towers.item_bias.no_bias import NoBias
from twotower.model.towers.user_batch import UserBatch

N, P = 25, 40
SUM_OF_Q = "the probabilities exp(log_q) must sum to 1; an item that is never drawn has a q near 0"
FREQUENCIES = np.append(0.0, 1 / np.arange(2, N + 2))
FREQUENCIES[[4, 9]] = 0  # no positives: the position of a row in `trained_rows` is not its number
FREQUENCIES /= FREQUENCIES.sum()
TRAINED = torch.from_numpy(FREQUENCIES.nonzero()[0])


def cases() -> dict[str, dict[str, Any]]:
    specs = specs_of("negatives")
    small = dict.fromkeys(("num_negatives", "num_uniform"), 60)
    few = {
        f"{stem}, {key} 60": {**spec, key: small[key]}
        for stem, spec in specs.items()
        for key in spec.keys() & small
    }
    return specs | few


CASES = cases()


def build(spec: dict[str, Any]) -> NegativeSampler:
    return NegativeSampler.Config.model_validate(spec).build(torch.from_numpy(FREQUENCIES).float())


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def negatives(request: pytest.FixtureRequest) -> NegativeSampler:
    return build(request.param)


def positives_of(number: int, seed: int = 0) -> Tensor:
    drawn = np.random.default_rng(seed).choice(N + 1, (number, P), p=FREQUENCIES)
    return torch.from_numpy(drawn)


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws_nothing(negatives: NegativeSampler) -> bool:
    """Shown negatives alone come with the batch; nothing else may be without candidates."""
    rows, count = negatives.draw(positives_of(1)[0], generator())
    if len(rows):
        return False
    assert negatives.config.max_impressions()
    assert len(count) == 0
    assert (negatives.log_q(TRAINED, P) == 0).all()  # q = 1: what was shown is certain to be there
    return True


def test_there_are_negatives() -> None:
    assert len(CASES) >= 4


def test_rows_are_distinct_ascending_items_with_counts(negatives: NegativeSampler) -> None:
    for positives in positives_of(5):
        rows, count = negatives.draw(positives, generator())
        assert rows.dtype == torch.int64
        assert (rows.diff() > 0).all(), "rows must be distinct and ascend: return distinct(rows)"
        if draws_nothing(negatives):
            continue
        assert rows[0] >= 1, "row 0 is the unknown item: draw from `trained_rows`"
        assert torch.isin(rows, TRAINED).all(), "an item that is never a positive is never drawn"
        assert rows.shape == count.shape
        assert (count >= 1).all()


def test_it_knows_how_often_it_draws(negatives: NegativeSampler) -> None:
    """Also after batches that it was told to remember, as in training."""
    draws = generator()
    for positives in positives_of(4):
        drawn = negatives(positives, draws)
        if drawn.num_draws is None:  # nothing is left to chance
            assert (negatives.log_q(TRAINED, P) == 0).all(), (
                "`num_draws` is None, so every item must have log_q 0; a sampler that draws returns the "
                "number of draws from `Config.num_draws`"
            )
        else:
            drawn_times = drawn.log_multiplicity.exp().sum().round()
            assert drawn.num_draws == drawn_times, "`num_draws` must be the sum of the multiplicities"
        remember(negatives, drawn)


def remember(negatives: NegativeSampler, drawn: Negatives) -> None:
    """Tell the sampler the embeddings of a batch, as a training step does after each draw."""
    encoded = drawn.rows[: drawn.num_encoded]
    negatives.remember(encoded, torch.ones(len(encoded), 2))


def test_the_generator_s_state_decides_the_draw(negatives: NegativeSampler) -> None:
    positives = positives_of(1)[0]
    torch.manual_seed(1)
    first = negatives.draw(positives, generator())
    torch.manual_seed(2)
    torch.rand(3)
    second = negatives.draw(positives, generator())
    assert torch.equal(first[0], second[0]), "pass `generator` to each random call"
    assert torch.equal(first[1], second[1]), "pass `generator` to each random call"


def test_q_is_what_the_draws_do(negatives: NegativeSampler) -> None:
    if draws_nothing(negatives):
        return
    draws, counted, expected = generator(), np.zeros(N + 1), 0.0
    for positives in positives_of(500):
        drawn = negatives(positives, draws)
        remember(negatives, drawn)
        rows, count = (each[: drawn.num_encoded] for each in (drawn.rows, drawn.log_multiplicity.exp()))
        counted[rows.numpy()] += count.numpy()
        q = negatives.log_q(TRAINED, P).exp().double().numpy()
        # the whole catalogue is no draw but a certainty: each item once, q = 1
        expected += q * round(float(count.sum())) / (1.0 if q.sum() < 2 else len(TRAINED))
    counted = counted[TRAINED.numpy()]
    total = expected.sum()
    if "log_q" in negatives.config.provides:
        assert total / counted.sum() == pytest.approx(1, rel=0.1), SUM_OF_Q
    if (counted == counted[0]).all():
        assert expected == pytest.approx(counted)
    else:
        assert total == pytest.approx(counted.sum(), rel=1e-4), SUM_OF_Q
        p_value = chisquare(counted, expected * counted.sum() / total).pvalue
        assert p_value > 1e-3, (
            f"items are not drawn as often as `log_q` says: counts {counted}, expected {expected}"
        )


def test_negatives_fit_together(negatives: NegativeSampler) -> None:
    positives = positives_of(1)[0]
    drawn = negatives(positives, generator())
    assert len(drawn.rows.unique()) == len(drawn.rows)
    assert drawn.log_multiplicity.shape == drawn.log_q.shape == drawn.rows.shape
    assert drawn.positive_log_q.shape == (P,)
    for values in (drawn.log_multiplicity, drawn.log_q, drawn.positive_log_q):
        assert values.isfinite().all()
    assert drawn.num_draws == negatives.config.num_draws(P)  # before it remembers anything
    assert drawn.query_rows is None
    assert drawn.query_log_q is None


def test_embeddings_of_earlier_batches_are_constants_of_rows_that_are_not_encoded(
    negatives: NegativeSampler,
) -> None:
    draws = generator()
    for positives in positives_of(20):  # more than the steps after which a memory may start
        drawn = negatives(positives, draws)
        # Each item once, also those of a memory: repeats belong in log_multiplicity.
        assert len(drawn.rows.unique()) == len(drawn.rows)
        encoded = drawn.rows[: drawn.num_encoded]
        if drawn.embeddings is not None:
            assert not drawn.embeddings.requires_grad
            assert len(drawn.embeddings) == len(drawn.rows) - drawn.num_encoded > 0
        rows = torch.cat([encoded, positives]).unique()
        negatives.remember(rows, torch.randn(len(rows), 4))


@pytest.mark.parametrize("spec", CASES.values(), ids=CASES.keys())
def test_the_state_is_restored_from_the_state_dict(spec: dict[str, Any]) -> None:
    def train(samplers: list[NegativeSampler], seed: int) -> list[list[Tensor]]:
        """Run three batches on each sampler with the same draws and embeddings; return the negatives."""
        embeddings, seen = torch.randn(N + 1, 4, generator=generator(seed)), []
        for positives in positives_of(3, seed):
            for sampler in samplers:
                drawn = sampler(
                    positives, generator(seed), sampler.query_rows(positives % 3, generator(seed))
                )
                seen.append([value for value in vars(drawn).values() if isinstance(value, Tensor)])
                rows = drawn.rows[: drawn.num_encoded]
                sampler.remember(rows, embeddings[rows])
        return seen

    sampler, restored = build(spec), build(spec)
    if sampler.config.refreshed_every():
        ranked = torch.arange(1, 1 + sampler.config.num_ranked()).repeat(2, 1) % N + 1
        sampler.update_hard_negatives(2, torch.tensor([1, 2]), ranked, -ranked.float(), torch.zeros(2))
    train([sampler], 1)
    restored.load_state_dict(copy.deepcopy(sampler.state_dict()))
    seen = train([sampler, restored], 2)
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert len(first) == len(second)
        assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_batch_of_one(negatives: NegativeSampler) -> None:
    one = torch.tensor([3])
    drawn = negatives(one, generator())
    assert len(drawn.rows) >= 1 or draws_nothing(negatives)
    assert drawn.positive_log_q.isfinite().all()


def test_query_negatives_have_the_q_of_a_draw(negatives: NegativeSampler) -> None:
    positives = positives_of(1)[0]
    query = torch.randint(0, N + 1, (P, 3), generator=generator(1))
    drawn = negatives(positives, generator(), query)
    assert torch.equal(drawn.query_rows, query)
    assert drawn.query_log_q.shape == (P, 3)
    assert drawn.query_log_q.isfinite().all()
    trained = torch.isin(query, TRAINED)
    assert torch.equal(drawn.query_log_q[trained], negatives.log_q(query[trained], P))
    assert torch.equal(negatives(positives, generator()).rows, drawn.rows)


def test_a_batch_without_a_positive(negatives: NegativeSampler) -> None:
    """A batch of labels may hold impressions alone."""
    none = torch.empty(0, dtype=torch.int64)
    assert negatives(none, generator()).positive_log_q.shape == (0,)


def test_a_memory_of_embeddings_reaches_the_logits() -> None:
    """Cross-batch memory, from outside: past embeddings are negatives without a gradient."""
    spec = specs_of("negatives")["cross_batch_memory"]
    sampler = build(spec)
    scorer = Scorer(SampledSoftmax.Config().scoring(), N)
    first, second = torch.tensor([1, 2, 3]), torch.tensor([3, 4, 4])
    sampler.remember(first, torch.eye(3))
    negatives = sampler(second, generator())
    assert negatives.rows.tolist() == [3, 4, 1, 2]
    assert negatives.embeddings is not None
    assert torch.equal(negatives.embeddings, torch.eye(3)[:2])
    one = torch.arange(3)
    batch = Batch(UserBatch(one, one, one, one), second, torch.ones(3), one, second, 0)
    encoded = scorer.items(negatives, batch)
    assert encoded.rows.tolist() == [3, 4]
    items = torch.randn(2, 3, requires_grad=True)
    bias = NoBias(NoBias.Config(), N)
    embedded = scorer.embeddings(torch.randn(3, 3), items, encoded, negatives)
    logits = scorer(embedded, scorer.terms(negatives, batch, bias), negatives, batch)
    assert torch.equal(logits.shared.embeddings[2:], torch.eye(3)[:2])
    loss = SampledSoftmax(SampledSoftmax.Config()).batch_mean(logits)
    loss.backward()
    assert loss.isfinite()
    assert items.grad is not None
