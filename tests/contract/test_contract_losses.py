"""What every loss promises, for each entry of `conf/loss/` and the settings that change its formula.

It holds for a loss of somebody else's too: one of cosines, with a margin beyond which nothing is learned.
"""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from variants import specs_of

from twotower.losses.loss import Loss
from twotower.negatives.candidates import Candidates, Places
from twotower.negatives.negatives import Negatives
from twotower.towers.two_tower_config import TwoTowerConfig

OF_TOWERS = {"unit_vectors", "no_item_bias"}
N, P, D = 12, 6, 8
ALL = torch.arange(1, N + 1)


def cases() -> dict[str, dict[str, Any]]:
    specs = specs_of("loss")
    learned = {
        f"{name}, learned": {**spec, "learned_temperature": True}
        for name, spec in specs.items()
        if "learned_temperature" in type(Loss.Config.model_validate(spec)).model_fields
    }
    return specs | learned


def test_there_are_losses() -> None:
    assert {"bce", "in_batch_softmax, learned", "cosine_contrastive"} <= cases().keys()


@pytest.fixture(params=cases().values(), ids=cases().keys())
def loss(request: pytest.FixtureRequest) -> Loss:
    return Loss.Config.model_validate(request.param).build()


def candidates_of(positives: Tensor, rows: Tensor = ALL) -> Candidates:
    """Candidates with uneven q and counts; an example's own positive is masked, nothing else."""
    masked = torch.arange(len(positives)), *Places(N).among(rows, positives)
    q = torch.linspace(0.02, 0.2, N + 1)
    count = torch.arange(len(rows)) % 3 + 1
    return Candidates(rows, count.float().log(), q[rows].log(), q[positives].log(), *masked)


def vectors(num_users: int = P) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    users = torch.nn.functional.normalize(torch.randn(num_users, D), dim=1).requires_grad_()
    items = torch.nn.functional.normalize(torch.randn(N + 1, D), dim=1).requires_grad_()
    return users, items


def value(
    loss: Loss, users: Tensor, items: Tensor, positives: Tensor, weights: Tensor | None = None
) -> Tensor:
    candidates = candidates_of(positives)
    weights = torch.ones(len(positives)) if weights is None else weights
    return loss.mean_loss(users, items[positives], items[candidates.rows], candidates, weights)


POSITIVES = torch.tensor([1, 3, 3, 7, 12, 5])
HARD = 5
"""Position of a candidate that is put where the user is: no negative can be harder."""


def test_it_is_finite_and_its_gradient_reaches_both_towers(loss: Loss) -> None:
    users, items = vectors()
    result = value(loss, users, items, POSITIVES)
    assert result.shape == ()
    assert result.isfinite()
    result.backward()
    for gradient in (users.grad, items.grad[POSITIVES]):
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(1) > 0).all()
    for parameter in loss.parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert parameter.grad != 0


def test_raising_the_positive_s_score_lowers_it(loss: Loss) -> None:
    users, items = vectors()
    candidates, weights = candidates_of(POSITIVES), torch.ones(P)
    results = []
    for nearer in (0.0, 0.1, 0.3, 1.0):
        positives = items[POSITIVES] + nearer * users
        if "unit_vectors" in loss.config.needs:
            positives = torch.nn.functional.normalize(positives, dim=1)
        results.append(loss.mean_loss(users, positives, items[candidates.rows], candidates, weights).item())
    assert results == sorted(results, reverse=True)
    assert results[-1] < results[0]  # it may stop on the way: good enough is good enough


def test_lowering_a_negative_s_score_lowers_it(loss: Loss) -> None:
    if not loss.config.ranks:
        return
    users, items = vectors()
    candidates, weights = candidates_of(POSITIVES[:1]), torch.ones(1)
    columns = items[candidates.rows].detach()
    columns[HARD] = users[0].detach()
    columns.requires_grad_()
    loss.mean_loss(users[:1], items[POSITIVES[:1]], columns, candidates, weights).backward()
    along = columns.grad @ users[0]
    assert along[0] == 0  # the positive itself
    assert (along >= 0).all()  # a margin may leave easy ones alone
    assert along[HARD] > 0


def test_an_item_twice_in_a_batch_is_no_negative_of_itself(loss: Loss) -> None:
    if not loss.config.ranks:
        return
    users, items = vectors(2)
    positives = torch.tensor([4, 4])
    candidates, weights = candidates_of(positives), torch.ones(2)
    columns = users[:1].detach().repeat(N, 1).requires_grad_()  # as hard as can be, for the first user
    loss.mean_loss(users, items[positives], columns, candidates, weights).backward()
    assert (columns.grad[3] == 0).all()
    assert (columns.grad[[0, 1, 2, 4]] != 0).any(1).all()


def test_a_batch_of_one_is_defined(loss: Loss) -> None:
    users, items = vectors(1)
    assert value(loss, users, items, torch.tensor([2])).isfinite()
    candidates = candidates_of(torch.tensor([2]), rows=torch.tensor([2]))  # only itself: all masked
    alone = loss.mean_loss(users, items[[2]], items[[2]], candidates, torch.ones(1))
    alone.backward()
    assert alone.isfinite()
    assert users.grad.isfinite().all()


def test_a_row_whose_candidates_are_all_masked_disturbs_no_other(loss: Loss) -> None:
    if not loss.config.ranks:
        return
    users, items = vectors(2)
    positives, weights = torch.tensor([2, 5]), torch.ones(2)
    plain = candidates_of(positives)
    masked = torch.cat([torch.zeros(N, dtype=torch.int64), torch.ones(1, dtype=torch.int64)])
    columns = torch.cat([torch.arange(N), torch.tensor([4])])
    candidates = Candidates(plain.rows, plain.log_count, plain.log_q, plain.positive_log_q, masked, columns)
    both = loss.mean_loss(users, items[positives], items[ALL], candidates, weights)
    both.backward()
    assert both.isfinite()
    assert users.grad.isfinite().all()
    other = loss.mean_loss(
        users[1:], items[positives[1:]], items[ALL], candidates_of(positives[1:]), weights[1:]
    )
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
    if not loss.config.ranks:
        return
    torch.manual_seed(3)
    num_users, num_items = 4000, 4000
    users = torch.randn(num_users, D) * 0.1
    items = torch.randn(num_items + 1, D)
    rows = torch.arange(1, num_items + 1)
    positives = torch.randint(1, num_items + 1, (num_users,))
    masked = torch.arange(num_users), *Places(num_items).among(rows, positives)
    candidates = Candidates(
        rows, torch.zeros(num_items), torch.full((num_items,), -6.0), torch.full((num_users,), -6.0), *masked
    )
    gradients = []
    for enabled in (False, True):
        columns = items[rows].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.float16, enabled=enabled):
            loss.mean_loss(users, items[positives], columns, candidates, torch.ones(num_users)).backward()
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


def of_shown(loss: Loss, more: dict[str, Any] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of a batch with shown negatives as this loss takes them, the users and what was shown."""
    users, items = vectors(P + 2 if loss.config.shown == "examples" else P)
    shown = torch.nn.functional.normalize(torch.randn(P * 3, D), dim=1)
    candidates = dataclasses.replace(candidates_of(POSITIVES), **(more or {}))
    parts = users, items[POSITIVES], items[candidates.rows], candidates
    if loss.config.shown == "examples":
        shown = shown[:2].requires_grad_()
        return loss.of_batch(*parts, torch.ones(P + 2), shown), users, shown
    shown = shown.view(P, 3, D).requires_grad_()
    return loss.of_batch(*parts, torch.ones(P), shown[:0, 0], shown), users, shown


ROWS = torch.arange(1, 3 * P + 1).view(P, 3) % N + 1
OWN = {"own_rows": ROWS, "own_log_q": torch.full((P, 3), -2.0)}


def test_it_learns_from_shown_negatives_as_it_says(loss: Loss) -> None:
    if loss.config.shown is None:
        with pytest.raises(NotImplementedError):
            loss.of_shown(*vectors())
        return
    result, users, shown = of_shown(loss, OWN)
    assert result.isfinite()
    result.backward()
    assert users.grad.isfinite().all()
    assert shown.grad.isfinite().all()
    matching = users.detach()[P:] if loss.config.shown == "examples" else users.detach()[:, None]
    along = (shown.grad * matching).sum(-1)
    assert (along >= 0).all()  # a higher score never lowers it
    assert (along > 0).any()


def test_padding_of_own_candidates_does_not_count(loss: Loss) -> None:
    if loss.config.shown != "candidates":
        return
    nobody = {**OWN, "own_rows": torch.zeros_like(ROWS)}
    result, _, shown = of_shown(loss, nobody)
    torch.testing.assert_close(result, value(loss, *vectors(), POSITIVES))
    result.backward()
    assert (shown.grad == 0).all()
    some = {**OWN, "own_rows": torch.where(torch.arange(3) == 1, 0, ROWS)}
    result, _, shown = of_shown(loss, some)
    result.backward()
    assert (shown.grad[:, 1] == 0).all()
    assert (shown.grad[:, [0, 2]] != 0).any()


def test_shown_negatives_alone_are_enough(loss: Loss) -> None:
    """No candidate was drawn: C = 0."""
    if loss.config.shown is None:
        return
    none = torch.empty(0, dtype=torch.int64)
    empty = {"rows": none, "log_count": torch.empty(0), "log_q": torch.empty(0)}
    empty |= {"masked_positives": none, "masked_candidates": none, "positive_log_q": torch.zeros(P)}
    result, users, shown = of_shown(loss, {**OWN, **empty})
    assert result.isfinite()
    result.backward()
    assert users.grad.isfinite().all()
    assert (shown.grad != 0).any()


def test_an_example_of_weight_0_does_not_count(loss: Loss) -> None:
    if loss.config.shown != "examples":
        return
    users, items = vectors(P + 2)
    shown, candidates = items[[1, 2]].detach(), candidates_of(POSITIVES)
    parts = items[POSITIVES], items[candidates.rows], candidates
    weights = torch.ones(P + 2)
    weights[-1] = 0
    got = loss.of_batch(users, *parts, weights, shown)
    torch.testing.assert_close(got, loss.of_batch(users[:-1], *parts, weights[:-1], shown[:-1]))
    weights[-2] = 0
    torch.testing.assert_close(
        loss.of_batch(users, *parts, weights, shown), loss.mean_loss(users[:P], *parts, weights[:P])
    )


def test_its_needs_are_met_by_some_negatives_and_towers(loss: Loss) -> None:
    provided = [Negatives.Config.model_validate(spec).provides for spec in specs_of("negatives").values()]
    assert any(loss.config.needs <= names | OF_TOWERS for names in provided)


def test_what_losses_may_need_of_towers_there_are_towers_for() -> None:
    choices = {
        group: [
            {**spec, **more}
            for spec in specs_of(group).values()
            for more in ({}, {"normalise": "l2"} if "tower" in group else {})
        ]
        for group in ("user_tower", "item_tower", "item_bias")
    }
    fixed = {"embedding_dim": 8, "history": specs_of("history")["mean_pooling"]}
    told = [
        TwoTowerConfig.of(fixed | dict(zip(choices, each, strict=True))).remedies()
        for each in itertools.product(*choices.values())
    ]
    assert all(needs.keys() == OF_TOWERS for needs in told)
    for need in OF_TOWERS:
        assert any(needs[need] for needs in told)  # says what to set
        assert not all(needs[need] for needs in told)
