"""Several positives of one user, and what is known beside the score, against plain references."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from twotower.losses.bce import Bce
from twotower.losses.bpr import Bpr
from twotower.losses.sampled_softmax import SampledSoftmax
from twotower.losses.loss import Loss
from twotower.negatives.candidates import Candidates
from twotower.towers.item_bias.item_bias import Prior

NUM_ITEMS, D = 7, 3


def candidates_of(counts: list[int], num_moments: int, with_prior: bool) -> tuple[Candidates, torch.Tensor]:
    """All items as candidates of users with `counts` positives each, and the positives' rows."""
    owners = torch.repeat_interleave(torch.tensor(counts))
    positives = torch.randint(NUM_ITEMS, (len(owners),))
    lifts, moments = torch.randn(num_moments, NUM_ITEMS), torch.randint(num_moments, (len(counts),))
    pairs = torch.unique(torch.stack([owners, positives]), dim=1)
    zeros = torch.zeros(NUM_ITEMS)
    return Candidates(
        torch.arange(NUM_ITEMS),
        zeros,
        zeros,
        torch.zeros(len(owners)),
        pairs[0].to(torch.int32),
        pairs[1].to(torch.int32),
        owners=owners,
        prior=Prior(lifts, moments) if with_prior else None,
        positive_prior=lifts[moments[owners], positives] if with_prior else None,
    ), positives


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    num_moments=st.integers(1, 3),
    with_prior=st.booleans(),
    seed=st.integers(0, 1000),
)
@pytest.mark.parametrize("loss", [SampledSoftmax.Config(temperature=0.5), Bce.Config(temperature=0.5)])
def test_loss_and_gradients_are_those_of_a_user_for_each_positive(
    loss: Loss.Config, counts: list[int], num_moments: int, with_prior: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    candidates, positives = candidates_of(counts, num_moments, with_prior)
    users = torch.randn(len(counts), D, requires_grad=True)
    items = torch.randn(NUM_ITEMS, D, requires_grad=True)
    weights = 0.1 + torch.rand(len(positives))
    built, none = loss.build(), torch.zeros(0, D)
    got = built.of_batch(users, items[positives], items, candidates, weights, none)
    own = users[candidates.owners]
    expected = built.of_batch(own, items[positives], items, candidates.by_positive(), weights, none)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, (users, items)) for each in (got, expected)))


def test_the_softmax_is_torch_s_over_logits_with_the_prior() -> None:
    torch.manual_seed(3)
    candidates, positives = candidates_of([2, 1, 3], 2, with_prior=True)
    assert candidates.owners is not None
    assert candidates.prior is not None
    users, items = torch.randn(3, D), torch.randn(NUM_ITEMS, D)
    weights = 0.1 + torch.rand(len(positives))
    built = SampledSoftmax.Config(temperature=1.0).build()
    got = built.of_batch(users, items[positives], items, candidates, weights, torch.zeros(0, D))
    logits = users @ items.T + candidates.prior.lifts[candidates.prior.moments]
    rows = logits[candidates.owners].clone()
    taken = torch.zeros(3, NUM_ITEMS, dtype=torch.bool)
    taken[candidates.owners, positives] = True  # a user's other positives are no negatives
    others = taken[candidates.owners] & (torch.arange(NUM_ITEMS) != positives[:, None])
    losses = functional.cross_entropy(rows.masked_fill(others, -torch.inf), positives, reduction="none")
    assert got.item() == pytest.approx(float((losses * weights).sum() / weights.sum()), rel=1e-5)


def test_own_candidates_of_each_positive_have_a_prior_too() -> None:
    torch.manual_seed(4)
    shared, positives = candidates_of([2, 1, 3], 2, with_prior=True)
    own_rows = torch.randint(NUM_ITEMS, (len(positives), 2)) * torch.tensor([[1], [0]]).repeat(3, 1)
    own_prior, owners = torch.randn(own_rows.shape), shared.owners
    assert owners is not None
    candidates = replace(
        shared, own_rows=own_rows, own_log_q=torch.zeros_like(own_prior), own_prior=own_prior
    )
    users, items, own = torch.randn(3, D), torch.randn(NUM_ITEMS, D), torch.randn(*own_rows.shape, D)
    weights = torch.ones(len(positives))
    for loss in (SampledSoftmax.Config(temperature=1.0), Bpr.Config(temperature=1.0)):
        got = loss.build().of_batch(
            users, items[positives], items, candidates, weights, torch.zeros(0, D), own
        )
        # A prior is a column more of what is embedded.
        plain = replace(candidates.by_positive(), prior=None, positive_prior=None, own_prior=None)
        losses = []
        for place, owner in enumerate(owners):
            lifts = shared.prior.lifts[shared.prior.moments[owner]]
            wide = torch.cat([items, lifts[:, None]], 1)
            wide_own = torch.cat([own, own_prior[..., None]], -1)
            user = torch.cat([users[owner], torch.ones(1)])
            one = replace(
                plain,
                positive_log_q=plain.positive_log_q[[place]],
                masked_positives=torch.zeros(int((plain.masked_positives == place).sum()), dtype=torch.int32),
                masked_candidates=plain.masked_candidates[plain.masked_positives == place],
                own_rows=own_rows[[place]],
                own_log_q=torch.zeros(1, 2),
            )
            losses.append(
                loss.build().of_batch(
                    user[None],
                    wide[positives[[place]]],
                    wide,
                    one,
                    torch.ones(1),
                    torch.zeros(0, D + 1),
                    wide_own[[place]],
                )
            )
        torch.testing.assert_close(got, torch.stack(losses).mean())


def test_masks_are_repeated_for_each_positive_of_a_user() -> None:
    candidates, _ = candidates_of([2, 1], 1, with_prior=False)
    candidates = Candidates(
        *(candidates.rows, candidates.log_count, candidates.log_q, candidates.positive_log_q),
        torch.tensor([0, 0, 1], dtype=torch.int32),
        torch.tensor([4, 5, 6], dtype=torch.int32),
        owners=candidates.owners,
    )
    by_positive = candidates.by_positive()
    assert by_positive.owners is None
    assert by_positive.masked_positives.tolist() == [0, 0, 1, 1, 2]
    assert by_positive.masked_candidates.tolist() == [4, 5, 4, 5, 6]
