"""How much a moment counts by its age, and the half-life that a log decides."""

import math
from dataclasses import replace

import numpy as np
import pytest

from twotower.data.interactions import Interactions, ages_within_user, newer_share_within_user
from twotower.model.towers.item_bias.decayed_shares import IntervalCounts, Mixture
from twotower.model.towers.item_bias.trend import Trend
from twotower.training.objectives.next_basket import SHARE, NextBasket, half_life_days
from twotower.training.objectives.next_item import NextItem

DAY = 86_400


def log_of(users: list[int], items: list[int], days: list[float]) -> Interactions:
    """A log sorted by user and time."""
    times = (np.array(days) * DAY).astype(np.int64)
    return Interactions.from_rows(np.array(users), np.array(items), times, max(users))


def year(fashion: bool) -> Interactions:
    """Twenty interactions a day for a year, of items that stay, or one after the other for a month each."""
    day = np.repeat(np.arange(360), 20)
    drawn = np.random.default_rng(0).integers(1, 13, len(day))
    items = 1 + day // 30 if fashion else drawn
    return log_of([1] * len(day), items.tolist(), day.tolist())


def test_the_age_of_a_moment_is_counted_from_its_users_newest() -> None:
    log = log_of([1, 1, 3, 3], [1, 2, 1, 2], [0, 4, 90, 100])  # of user 2 nothing is known
    assert ages_within_user(log).tolist() == [4, 0, 10, 0]
    weights = NextBasket.Config(recency_half_life_days=2).build().weights(log)
    assert weights[0] / weights[1] == pytest.approx(1 / 4)
    assert weights[2] / weights[3] == pytest.approx(1 / 32)
    of_all = NextItem.Config(recency_half_life_days=2).build().weights(log)
    assert of_all[1] / of_all[3] == pytest.approx(2.0**-48)


def test_an_example_counts_by_its_place_in_its_users_line() -> None:
    log = log_of([1, 1, 1, 1, 3, 3], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 4])  # of user 2 nothing is known
    assert newer_share_within_user(log).tolist() == [0.75, 0.5, 0.25, 0, 0.5, 0]
    by_place = NextItem.Config(recency_half_life_share=0.5).build().weights(log)
    halves = [2**-1.5, 2**-1, 2**-0.5, 1, 2**-1, 1]
    assert by_place / by_place[3] == pytest.approx(halves)
    assert by_place.mean() == pytest.approx(1)
    both = NextItem.Config(recency_half_life_share=0.5, recency_half_life_days=4).build().weights(log)
    assert both / both[5] == pytest.approx([half / 2 for half in halves[:5]] + [1])
    assert both.dtype == np.float32


def test_a_half_life_is_that_of_the_mean_rate() -> None:
    """Rates of 1/2, 1/4 and 0 at weights of .4, .2 and .2: 5/16 a knot; the share of new items is no part."""
    counted = IntervalCounts(np.arange(9.0), None, np.array([2, 4, math.inf]))  # type: ignore[arg-type]
    assert Mixture(np.array([0.4, 0.2, 0.2, 0.2]), 1.0).half_life(counted) == pytest.approx(0.8 / 0.25)
    assert Mixture(np.array([0, 0, 0.5, 0.5]), 1.0).half_life(counted) == math.inf
    assert Mixture(np.array([0, 0, 0, 1.0]), 1.0).half_life(counted) == math.inf  # all was new


def test_a_log_decides_by_how_fast_it_forgets() -> None:
    fashion, steady = (half_life_days(year(of), 28) for of in (True, False))
    assert 0 < fashion < 30 * SHARE < 45 * SHARE < steady
    auto = NextBasket.Config(recency_half_life_days="auto", horizon_days=28)
    assert auto.resolve(year(True)).recency_half_life_days == fashion
    chosen = auto.model_copy(update={"recency_half_life_days": fashion})
    assert auto.build().weights(year(True)).tolist() == chosen.build().weights(year(True)).tolist()


def test_the_horizon_of_the_data_is_that_of_baskets_and_of_the_trend() -> None:
    auto = NextBasket.Config(horizon_days="auto", recency_half_life_days="auto")
    resolved = auto.resolve(year(True), 3)
    assert resolved.horizon_days == 3
    assert resolved.recency_half_life_days == half_life_days(year(True), 3)
    assert NextBasket.Config(horizon_days=9).resolve(year(True), 3).horizon_days == 9
    assert Trend.Config(ahead_days="auto").resolve(3).ahead_days == 3
    assert Trend.Config(ahead_days=9.5).resolve(3).ahead_days == 9.5


def test_a_log_of_one_moment_has_one_age() -> None:
    log = log_of([1, 2], [1, 2], [5, 5])
    assert NextBasket.Config(recency_half_life_days="auto").build().weights(log).tolist() == [1, 1]


def test_where_nothing_is_taken_twice_all_moments_count_alike() -> None:
    auto = NextBasket.Config(recency_half_life_days="auto")
    assert auto.resolve(log_of([1, 1, 2], [1, 2, 3], [0, 9, 400])).recency_half_life_days is None


def test_the_objective_and_the_item_bias_share_one_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[float] = []
    fit = Mixture.fit
    monkeypatch.setattr(Mixture, "fit", lambda counted, days: fits.append(days) or fit(counted, days))
    log = replace(year(True), num_items=12)
    NextBasket.Config(recency_half_life_days="auto").resolve(log)
    Trend.Config().build(12).initialize(log)
    assert fits == [28]
    Trend.Config().build(12).initialize(replace(log))  # of other interactions
    assert fits == [28, 28]
