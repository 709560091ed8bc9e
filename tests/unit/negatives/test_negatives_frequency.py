"""Frequencies of items as positives: counted, and estimated while training."""

import numpy as np
import pytest
import torch

from twotower.negatives.frequency import Empirical, Streaming
from twotower.negatives.in_batch import InBatch

N, P = 30, 64
TRUE = np.append(0.0, 1 / np.arange(1, N + 1))
TRUE /= TRUE.sum()


def batches(number: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice(N + 1, (number, P), p=TRUE))


def test_names() -> None:
    for name, kind in (("empirical", Empirical), ("streaming", Streaming), ("none", Empirical)):
        assert isinstance(InBatch.Config(frequency=name).build(torch.from_numpy(TRUE)).frequency, kind)


def test_one_observation_by_hand() -> None:
    estimate = Streaming(3, rate=0.5, expected_gap=8)
    estimate.observe(torch.tensor([2, 2, 1, 2]))
    # item 2: gap 8 -> 8 + .5 (1 - 8) = 4.5, hits 1 -> 2, of 4 examples; item 3 was not there
    assert estimate.probability(torch.tensor([1, 2, 3])).tolist() == pytest.approx(
        [1 / 4.5 / 4, 2 / 4.5 / 4, 1 / 8 / 4]
    )
    estimate.observe(torch.tensor([3, 1, 1, 1]))
    estimate.observe(torch.tensor([2, 3, 3, 3]))
    # item 2 again after 2 batches: gap 4.5 -> 3.25, hits 2 -> 1.5
    assert estimate.probability(torch.tensor([2])).item() == pytest.approx(1.5 / 3.25 / 4)


def test_streaming_converges_for_popular_and_rare_items() -> None:
    estimate = Streaming(N, rate=0.02)
    rows = torch.arange(1, N + 1)
    seen = []
    for step, positives in enumerate(batches(2500)):
        estimate.observe(positives)
        if step >= 1000:
            seen.append(estimate.probability(rows))
    mean = torch.stack(seen).mean(0).numpy()
    assert P * TRUE[1] > 10  # the most popular item is there many times a batch
    np.testing.assert_allclose(mean, TRUE[1:], rtol=0.1)
    np.testing.assert_allclose(seen[-1].numpy(), TRUE[1:], rtol=0.5)


def test_the_short_batch_of_an_epoch_s_end_changes_little() -> None:
    estimate = Streaming(N)
    rows = torch.arange(1, N + 1)
    for positives in batches(500):
        estimate.observe(positives)
    before = estimate.probability(rows)
    estimate.observe(torch.tensor([1, 2, 3]))
    np.testing.assert_allclose(estimate.probability(rows).numpy(), before.numpy(), rtol=0.2)


def test_nothing_seen_yet_is_usable() -> None:
    negatives = InBatch(InBatch.Config(frequency="streaming"), torch.from_numpy(TRUE).float())
    assert negatives.log_q(torch.arange(1, N + 1), P).isfinite().all()


def test_a_resumed_estimate_goes_on_as_if_never_stopped() -> None:
    frequencies = torch.from_numpy(TRUE).float()
    whole, first, second = (InBatch(InBatch.Config(frequency="streaming"), frequencies) for _ in range(3))
    drawn = batches(40)
    for positives in drawn[:20]:
        whole.observe(positives)
        first.observe(positives)
    second.load_state_dict(first.state_dict())
    for positives in drawn[20:]:
        whole.observe(positives)
        second.observe(positives)
    rows = torch.arange(1, N + 1)
    assert torch.equal(whole.log_q(rows, P), second.log_q(rows, P))


def test_counted_frequencies_are_not_part_of_a_checkpoint() -> None:
    assert InBatch(InBatch.Config(), torch.from_numpy(TRUE).float()).state_dict() == {}
