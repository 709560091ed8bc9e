"""The bias that follows time: what it knows at a moment, what it says of new items, what is likeliest."""

import math

import numpy as np
import pytest
import torch

from twotower.data.interactions import Interactions
from twotower.model.towers.item_bias.decayed_shares import IntervalCounts, Mixture
from twotower.model.towers.item_bias.trend import Trend

DAY = 86_400


def log_of(items: list[int], days: list[float], num_users: int | None = None) -> Interactions:
    """One user an interaction."""
    users = np.arange(1, len(items) + 1)
    return Interactions.from_rows(
        users, np.array(items), (np.array(days) * DAY).astype(np.int64), num_users or len(items)
    )


def season(num_items: int = 6, days: int = 120) -> Interactions:
    """Each item is taken for a fortnight, one after the other, and never again; the last one never."""
    items = [1 + min(num_items - 2, day * (num_items - 1) // days) for day in range(days) for _ in range(5)]
    return log_of(items, [day for day in range(days) for _ in range(5)])


def built(interactions: Interactions, num_items: int) -> Trend:
    trend = Trend(Trend.Config(), num_items)
    trend.initialize(interactions)
    return trend


def test_shares_of_a_knot_are_of_what_was_before_it() -> None:
    counted = IntervalCounts.from_log(
        np.array([1, 2, 2]), np.array([0, 399, 400]), 2
    )  # 400 knots: one a second
    shares = list(counted.shares())
    assert not shares[0].any()
    assert shares[1][:, 0] == pytest.approx(1.0)  # item 1 alone, at every speed
    assert shares[-1][-1] == pytest.approx([1 / 3, 2 / 3])  # what forgets nothing
    assert shares[-1][0, 0] < shares[-1][-1, 0]  # what forgets knows more of late


def test_what_comes_and_goes_is_told_by_short_half_lives_and_what_stays_by_long_ones() -> None:
    rng = np.random.default_rng(0)
    stays = rng.integers(1, 6, 600)
    items, times = np.asarray(season().items), np.asarray(season().times)
    fashion = Mixture.fit(IntervalCounts.from_log(items, times, 6), 3.0)
    steady = Mixture.fit(IntervalCounts.from_log(stays, times, 6), 3.0)
    assert fashion.weights.sum() == pytest.approx(1)
    short = slice(4, 9)  # a 32nd of the span and less
    assert fashion.weights[short].sum() > 0.5 > 0.3 > steady.weights[short].sum()


def test_weights_are_the_likeliest() -> None:
    counted = IntervalCounts.from_log(np.asarray(season().items), np.asarray(season().times), 6)
    found = Mixture.fit(counted, 10 * counted.interval_days)
    assert found.num_new < 1
    half_lives = found.shorter

    def likelihood(weights: np.ndarray) -> float:
        mixture, total = Mixture(weights, found.num_new, half_lives), 0.0
        for knot, shares in enumerate(counted.shares()):
            if knot in range(100, 380, 7):
                counts = np.asarray(counted.counts[knot : knot + 10].sum(axis=0)).ravel()
                every = np.concatenate([shares, counted.exact_shares(counted.knots[knot], half_lives)])
                total += float(
                    counts @ np.log(np.maximum(mixture.weights[:-1] @ every, mixture.share_of_new_item(1)))
                )
        return total

    even = np.full_like(found.weights, 1 / len(found.weights))
    assert likelihood(found.weights) > likelihood(even)


def test_while_training_an_example_is_ranked_with_what_was_popular_then() -> None:
    trend = built(season(), 6).train()
    rows = torch.arange(1, 7)
    prior = trend.log_prior_odds(torch.tensor([20 * DAY, 100 * DAY, 20 * DAY])).select(rows)
    lifts = prior.table[prior.moments]
    assert lifts[:, :5].argmax(1).tolist() == [0, 4, 0]  # items 1 and 5
    assert lifts[0, 5] == lifts[0, 4]  # on day 20 neither had been taken: both are new
    some = trend.log_prior_odds(torch.tensor([20 * DAY, 100 * DAY, 20 * DAY])).select(rows[[1, 4]])
    assert torch.equal(some.table[some.moments], lifts[:, [1, 4]])
    assert prior.odds is not None
    torch.testing.assert_close(prior.odds, prior.table.exp())
    pairs = trend.log_prior_odds(torch.tensor([20 * DAY, 100 * DAY])).for_pairs(rows[[1, 4]])
    assert torch.equal(pairs, lifts[[0, 1], [1, 4]])
    assert not trend(rows).any()  # nothing in the embedding beside that


def test_what_is_served_is_popular_at_the_end_and_new_items_have_their_part() -> None:
    trend = built(season(), 6).eval()
    biases = trend(torch.arange(1, 7))[:, 0]
    assert biases[:5].argmax() == 4
    assert biases[5] == trend(torch.tensor([0]))[0, 0] == trend(torch.tensor([7]))[0, 0]  # one at a time
    shares = biases.exp() / 6
    assert shares[:5].sum() < 1  # the rest is what new items are given
    assert shares.isfinite().all()


def test_a_time_before_the_log_knows_nothing_and_one_after_it_knows_all() -> None:
    trend = built(season(), 6)
    prior = trend.log_prior_odds(torch.tensor([-DAY, 10_000 * DAY])).select(torch.arange(1, 7))
    lifts = prior.table[prior.moments]
    assert len(set(lifts[0].tolist())) == 1
    torch.testing.assert_close(lifts[1], trend.biases)
    once = built(log_of([1, 1, 2], [3.0, 3.0, 3.0]), 3).eval()(torch.tensor([1, 2, 3]))[:, 0]
    assert once.isfinite().all()  # of a log of one moment
    assert once[0] - once[1] == pytest.approx(math.log(2), abs=1e-5)


def test_towers_that_go_on_count_anew_or_take_over_what_was_known() -> None:
    before = built(season(), 6).eval()
    kept = Trend(Trend.Config(), 7).eval()
    rows = torch.tensor([1, 2, 3, 4, 5, 6, 0])
    kept.warm_start(before, rows, None)
    torch.testing.assert_close(kept(rows[:6]), before(rows[:6]))
    assert kept(torch.tensor([7])) == before(torch.tensor([0]))
    kept.warm_start(before, rows, log_of([7, 7], [0.0, 1.0]))
    assert kept(torch.arange(1, 8)).argmax() == 6


def news(num_items: int = 600, days: int = 60) -> Interactions:
    """Each item is taken by one user every six minutes, for 144 minutes, and never again."""
    minutes = np.arange(0, days * 1_440, 6)
    items = 1 + minutes * num_items // (days * 1_440)
    return log_of(items.tolist(), (minutes / 1_440).tolist())


def test_where_items_live_for_hours_the_last_hours_count() -> None:
    """The shortest of the usual half-lives is 2.8 hours, longer than an item lives."""
    log = news()
    counted = IntervalCounts.from_log(np.asarray(log.items), np.asarray(log.times), 600)
    found = Mixture.fit(counted, 0.02)
    assert found.shorter * counted.interval_days * 24 == pytest.approx([1.40625, 0.703125], rel=1e-3)
    assert found.weights[:-1].argmax() >= 10
    shares = [
        np.exp(built(part, 600).eval()(torch.arange(1, 601))[:, 0].numpy()) / 600
        for part in (log, log_of(log.items.tolist()[: 24 * 590], (log.times / DAY).tolist()[: 24 * 590]))
    ]
    assert shares[0].argmax() == 599
    assert shares[1][:590].argmax() == 589  # the rest is new
    assert shares[0][598] < shares[0][599] / 2  # an item that ended 2.4 hours ago


def test_exact_shares_are_those_of_a_decay_per_second() -> None:
    counted = IntervalCounts.from_log(np.array([2, 1, 1]), np.array([300, 100, 200]), 3)
    second = 1 / (counted.interval_days * DAY)
    shares = counted.exact_shares(400.0, np.array([100.0, 1.0]) * second)
    assert shares[0] == pytest.approx(np.array([0.25 + 0.125, 0.5, 0]) / 0.875)
    assert not shares[1].any()  # all were longer ago than a decay is followed
