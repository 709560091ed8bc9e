"""What every loss promises, for each entry of `conf/loss/` and the settings that change its formula.

It holds for a loss of somebody else's too: one of cosines, with a margin beyond which nothing is learned.
"""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from scoring_cases import logits_of
from torch import Tensor
from variants import specs_of

from twotower.config.errors import InputError
from twotower.config.spec import locate_class
from twotower.model.losses.loss import Loss
from twotower.model.negatives.sampler import Negatives, NegativeSampler
from twotower.model.scoring.scorer import Scorer
from twotower.model.towers.two_tower import TwoTowerConfig

OF_TOWERS = {"unit_vectors", "no_item_bias", "one_member"}
N, P, D = 12, 6, 8
ALL = torch.arange(1, N + 1)


def cases() -> dict[str, dict[str, Any]]:
    specs = specs_of("loss")
    learned = {
        f"{name}, learned": {**spec, "learned_temperature": True}
        for name, spec in specs.items()
        if "learned_temperature" in locate_class(spec, Loss).Config.model_fields
    }
    return specs | learned


def test_there_are_losses() -> None:
    assert {"bce", "in_batch_softmax, learned", "cosine_contrastive"} <= cases().keys()


@pytest.fixture(params=cases().values(), ids=cases().keys())
def loss(request: pytest.FixtureRequest) -> Loss:
    return Loss.Config.model_validate(request.param).build()


def negatives_of(positives: Tensor, rows: Tensor = ALL) -> Negatives:
    """Negatives with uneven q and multiplicity."""
    q = torch.linspace(0.02, 0.2, N + 1)
    count = torch.arange(len(rows)) % 3 + 1
    return Negatives(rows, count.float().log(), q[rows].log(), q[positives].log())


def mean_of(
    loss: Loss,
    users: Tensor,
    positives: Tensor,
    items: Tensor,
    rows: Tensor,
    weights: Tensor | None = None,
    *,
    negatives: Negatives | None = None,
    masked: Tensor | None = None,
    scorer: Scorer | None = None,
    **more: Any,
) -> Tensor:
    """The loss of a batch; each example's own positive, of `rows`, is masked and nothing else."""
    negatives = negatives_of(rows) if negatives is None else negatives
    if masked is None:
        pairs = (negatives.rows == rows[:, None]).nonzero().T
        masked = pairs
    every = logits_of(
        scorer or loss.config.scoring(),
        users,
        positives,
        items,
        negatives,
        masked=masked,
        weights=weights,
        **more,
    )
    return torch.stack([loss.batch_mean(logits) for logits in every]).sum()


def vectors(num_users: int = P) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    users = torch.nn.functional.normalize(torch.randn(num_users, D), dim=1).requires_grad_()
    items = torch.nn.functional.normalize(torch.randn(N + 1, D), dim=1).requires_grad_()
    return users, items


def value(
    loss: Loss, users: Tensor, items: Tensor, positives: Tensor, weights: Tensor | None = None, **more: Any
) -> Tensor:
    return mean_of(loss, users, items[positives], items[ALL], positives, weights, **more)


POSITIVES = torch.tensor([1, 3, 3, 7, 12, 5])
ALL_MASKED = "a row with every negative masked: put the positive or a constant in logsumexp, or it is NaN"
HARD = 5
"""Position of a candidate that is put where the user is: no negative can be harder."""


def test_it_is_finite_and_its_gradient_reaches_both_towers(loss: Loss) -> None:
    users, items = vectors()
    scorer = Scorer(loss.config.scoring(), 10_000)
    result = value(loss, users, items, POSITIVES, scorer=scorer)
    assert result.shape == ()
    assert result.isfinite()
    result.backward()
    for gradient in (users.grad, items.grad[POSITIVES]):
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(1) > 0).all()
    for parameter in (*loss.parameters(), *scorer.parameters()):
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert parameter.grad != 0


def test_the_mean_is_that_of_forward(loss: Loss) -> None:
    """A loss may compute the mean faster, but not another one; without negatives it may read embeddings."""
    if not loss.config.scoring().uses_negatives:
        return
    users, items = vectors()
    parts = users, items[POSITIVES], items[ALL], negatives_of(POSITIVES)
    masked = (POSITIVES[:, None] == ALL).nonzero().T
    for logits in logits_of(loss.config.scoring(), *parts, masked=masked):
        torch.testing.assert_close(loss.mean(logits), Loss.mean(loss, logits), rtol=1e-5, atol=1e-5)


def test_raising_the_positive_s_score_lowers_it(loss: Loss) -> None:
    users, items = vectors()
    results = []
    for nearer in (0.0, 0.1, 0.3, 1.0):
        positives = items[POSITIVES] + nearer * users
        if "unit_vectors" in loss.config.needs:
            positives = torch.nn.functional.normalize(positives, dim=1)
        results.append(mean_of(loss, users, positives, items[ALL], POSITIVES).item())
    assert results == sorted(results, reverse=True)
    assert results[-1] < results[0]  # it may stop on the way: good enough is good enough


def test_lowering_a_negative_s_score_lowers_it(loss: Loss) -> None:
    if not loss.config.scoring().uses_negatives:
        return
    users, items = vectors()
    columns = items[ALL].detach()
    columns[HARD] = users[0].detach()
    columns.requires_grad_()
    mean_of(loss, users[:1], items[POSITIVES[:1]], columns, POSITIVES[:1]).backward()
    along = columns.grad @ users[0]
    assert along[0] == 0  # the positive itself
    assert (along >= 0).all()  # a margin may leave easy ones alone
    assert along[HARD] > 0


def test_an_item_twice_in_a_batch_is_no_negative_of_itself(loss: Loss) -> None:
    if not loss.config.scoring().uses_negatives:
        return
    users, items = vectors(2)
    positives = torch.tensor([4, 4])
    columns = users[:1].detach().repeat(N, 1).requires_grad_()  # as hard as can be, for the first user
    mean_of(loss, users, items[positives], columns, positives).backward()
    assert (columns.grad[3] == 0).all()
    assert (columns.grad[[0, 1, 2, 4]] != 0).any(1).all()


def test_a_batch_of_one_is_defined(loss: Loss) -> None:
    users, items = vectors(1)
    assert value(loss, users, items, torch.tensor([2])).isfinite()
    two = torch.tensor([2])
    alone = mean_of(loss, users, items[two], items[two], two, negatives=negatives_of(two, two))  # all masked
    alone.backward()
    assert alone.isfinite(), ALL_MASKED
    assert users.grad.isfinite().all(), ALL_MASKED


def test_a_row_whose_candidates_are_all_masked_disturbs_no_other(loss: Loss) -> None:
    if not loss.config.scoring().uses_negatives:
        return
    users, items = vectors(2)
    positives = torch.tensor([2, 5])
    masked = torch.cat([torch.zeros(N, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    columns = torch.cat([torch.arange(N), torch.tensor([4])])
    both = value(loss, users, items, positives, masked=torch.stack([masked, columns]))
    both.backward()
    assert both.isfinite(), ALL_MASKED
    assert users.grad.isfinite().all(), ALL_MASKED
    other = value(loss, users[1:], items, positives[1:])
    expected = torch.autograd.grad(other / 2, users)[0]
    torch.testing.assert_close(users.grad[1], expected[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(loss: Loss, dtype: torch.dtype) -> None:
    users, items = vectors()
    exact = value(loss, users, items, POSITIVES)
    exact_gradients = torch.autograd.grad(exact, [users, items])
    with torch.autocast("cpu", dtype=dtype):
        low = value(loss, users, items, POSITIVES)
    low_gradients = torch.autograd.grad(low, [users, items])
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=0.02, atol=0.02)
    for got, expected in zip(low_gradients, exact_gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=0.1, atol=0.02 * float(expected.abs().max()))


def test_small_shares_of_a_large_batch_survive_half_precision(loss: Loss) -> None:
    if not loss.config.scoring().uses_negatives:
        return
    torch.manual_seed(3)
    num_users = num_items = 1500
    users = torch.randn(num_users, D) * 0.1
    items = torch.randn(num_items + 1, D)
    rows = torch.arange(1, num_items + 1)
    positives = torch.randint(1, num_items + 1, (num_users,))
    gradients = []
    flat = Negatives(
        rows, torch.zeros(num_items), torch.full((num_items,), -6.0), torch.full((num_users,), -6.0)
    )
    masked = torch.stack([torch.arange(num_users), positives - 1])
    for enabled in (False, True):
        columns = items[rows].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.float16, enabled=enabled):
            mean_of(
                loss, users, items[positives], columns, positives, negatives=flat, masked=masked
            ).backward()
        gradients.append(columns.grad)
    relative = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert relative < 0.01


def test_large_scores_do_not_overflow(loss: Loss) -> None:
    users, items = vectors()
    users = (users.detach() * 1000).requires_grad_()
    result = value(loss, users, items, POSITIVES)
    result.backward()
    assert result.isfinite()
    assert users.grad.isfinite().all()


def test_a_negative_that_was_drawn_twice_counts_as_two_columns(loss: Loss) -> None:
    torch.manual_seed(3)
    positive, negatives = torch.randn(P), torch.randn(P, N)
    twice = loss(positive, negatives, torch.cat([torch.full((1,), 2.0), torch.ones(N - 1)]))
    columns = loss(positive, torch.cat([negatives[:, :1], negatives], 1), torch.ones(N + 1))
    assert torch.allclose(twice, columns, atol=1e-5), "use `multiplicity`, as mean_over_draws does"


def test_a_wrong_shape_is_an_error_that_says_so(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loss.config.scoring().uses_negatives:
        return
    users, items = vectors()
    parts = users, items[POSITIVES], items[ALL], negatives_of(POSITIVES)
    monkeypatch.setattr(loss, "forward", lambda positive, *_: positive.mean())
    for logits in logits_of(loss.config.scoring(), *parts):
        with pytest.raises(InputError, match=r"loss: forward returned the shape \(\), expected one loss for"):
            Loss.mean(loss, logits)


def test_weights_count_only_by_their_ratio(loss: Loss) -> None:
    users, items = vectors()
    weights = torch.tensor([1.0, 2, 3, 4, 5, 6])
    result = value(loss, users, items, POSITIVES, weights)
    torch.testing.assert_close(value(loss, users, items, POSITIVES, weights * 1e-6), result)
    alone = torch.zeros(P)
    alone[3] = 0.5
    torch.testing.assert_close(
        value(loss, users, items, POSITIVES, alone), value(loss, users[3:4], items, POSITIVES[3:4])
    )


ROWS = torch.arange(1, 3 * P + 1).view(P, 3) % N + 1


def with_impressions(
    loss: Loss, query_rows: Tensor = ROWS, rows: Tensor = ALL
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch with impressions as this loss takes them, the users and the impressions."""
    as_examples = loss.config.impressions == "examples"
    users, items = vectors(P + 2 if as_examples else P)
    impressions = torch.nn.functional.normalize(torch.randn(P * 3, D), dim=1)
    plain = negatives_of(POSITIVES, rows)
    if as_examples:
        impressions = impressions[:2].requires_grad_()
        negatives, more = plain, {"impressions": impressions}
    else:
        impressions = impressions.view(P, 3, D).requires_grad_()
        of_queries = {"query_rows": query_rows, "query_log_q": torch.full((P, 3), -2.0)}
        negatives, more = dataclasses.replace(plain, **of_queries), {"query": impressions}
    result = mean_of(
        loss, users, items[POSITIVES], items[negatives.rows], POSITIVES, negatives=negatives, **more
    )
    return result, users, impressions


def test_it_learns_from_impressions_as_it_says(loss: Loss) -> None:
    if loss.config.impressions == "nothing":
        with pytest.raises(NotImplementedError):
            loss.negative_feedback(torch.zeros(2))
        return
    result, users, impressions = with_impressions(loss)
    assert result.isfinite()
    result.backward()
    assert users.grad.isfinite().all()
    assert impressions.grad.isfinite().all()
    as_examples = loss.config.impressions == "examples"
    matching = users.detach()[P:] if as_examples else users.detach()[:, None]
    along = (impressions.grad * matching).sum(-1)
    assert (along >= 0).all()  # a higher score never lowers it
    assert (along > 0).any()


def test_padding_of_query_negatives_does_not_count(loss: Loss) -> None:
    if loss.config.impressions != "query_negatives":
        return
    result, _, impressions = with_impressions(loss, torch.zeros_like(ROWS))
    torch.testing.assert_close(result, value(loss, *vectors(), POSITIVES))
    result.backward()
    assert (impressions.grad == 0).all()
    result, _, impressions = with_impressions(loss, torch.where(torch.arange(3) == 1, 0, ROWS))
    result.backward()
    assert (impressions.grad[:, 1] == 0).all()
    assert (impressions.grad[:, [0, 2]] != 0).any()


def test_impressions_alone_are_enough(loss: Loss) -> None:
    """No negative was drawn: C = 0."""
    if loss.config.impressions == "nothing":
        return
    result, users, impressions = with_impressions(loss, rows=ALL[:0])
    assert result.isfinite()
    result.backward()
    assert users.grad.isfinite().all()
    assert (impressions.grad != 0).any()


def test_an_example_of_weight_0_does_not_count(loss: Loss) -> None:
    if loss.config.impressions != "examples":
        return
    users, items = vectors(P + 2)
    parts, impressions = (items[POSITIVES], items[ALL], POSITIVES), items[[1, 2]].detach()
    weights = torch.ones(P + 2)
    weights[-1] = 0
    got = mean_of(loss, users, *parts, weights, impressions=impressions)
    expected = mean_of(loss, users[:-1], *parts, weights[:-1], impressions=impressions[:-1])
    torch.testing.assert_close(got, expected)
    weights[-2] = 0
    torch.testing.assert_close(
        mean_of(loss, users, *parts, weights, impressions=impressions),
        mean_of(loss, users[:P], *parts, weights[:P]),
    )


def test_its_needs_are_met_by_some_negatives_and_towers(loss: Loss) -> None:
    provided = [
        NegativeSampler.Config.model_validate(spec).provides for spec in specs_of("negatives").values()
    ]
    assert any(loss.config.needs <= names | OF_TOWERS for names in provided)


def test_what_losses_may_need_of_towers_there_are_towers_for() -> None:
    choices = {
        group: [
            {**spec, **more}
            for spec in specs_of(group).values()
            for more in ({}, {"normalize": "l2"} if "tower" in group else {})
        ]
        for group in ("user_tower", "item_tower", "item_bias")
    }
    histories = specs_of("history")
    choices["history"] = [histories["mean_pooling"], histories["sasrec"] | {"members": 2}]
    told = [
        TwoTowerConfig.from_settings({"embedding_dim": 8} | dict(zip(choices, each, strict=True))).remedies()
        for each in itertools.product(*choices.values())
    ]
    assert all(needs.keys() == OF_TOWERS for needs in told)
    for need in OF_TOWERS:
        assert any(needs[need] for needs in told)  # says what to set
        assert not all(needs[need] for needs in told)
