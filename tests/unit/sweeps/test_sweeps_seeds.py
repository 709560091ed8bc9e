"""Several seeds of one configuration: mean and interval, checked against a table of Student's t."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.reports.console.sweep_summary import SeedSummary
from twotower.runs.outcome import Outcome
from twotower.sweeps.schedule import summarize_seeds

TEST = "test/recall_at_20"
T_1, T_2 = 12.7062047, 4.3026527
"""The 97.5 % points of Student's t with 1 and 2 degrees of freedom."""


def outcome(name: str, value: float | None = None, status: str = "ok", **figures: float) -> Outcome:
    """A job whose settings are what its name says."""
    found = figures if value is None else {TEST: value, **figures}
    parts = name.split(",")
    seed = next((int(part.removeprefix("seed=")) for part in parts if part.startswith("seed=")), 42)
    settings = ",".join(part for part in parts if not part.startswith("seed="))
    return Outcome(name, status, 1.0, found, None, Path(name), None, False, settings, seed)


def test_the_mean_of_three_seeds_and_its_interval() -> None:
    (found,) = summarize_seeds([outcome(f"seed={seed}", 1.0 * seed) for seed in (1, 2, 3)], [TEST])
    half = T_2 / math.sqrt(3)  # the standard deviation is 1
    assert (found.configuration, found.metric, found.num_seeds) == ("", TEST, 3)
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.interval == pytest.approx((2 - half, 2 + half), abs=1e-6)


def test_each_configuration_has_its_own_seeds() -> None:
    found = summarize_seeds(
        [
            outcome("loss=bce,seed=1", 0.1),
            outcome("loss=other,seed=1", 0.5),
            outcome("loss=bce,seed=2", 0.3),
            outcome("loss=other,seed=2", 0.7),
        ],
        [TEST],
    )
    assert [(each.configuration, each.num_seeds) for each in found] == [("loss=bce", 2), ("loss=other", 2)]
    assert [each.mean for each in found] == pytest.approx([0.2, 0.6])


def test_a_failed_seed_is_left_out() -> None:
    outcomes = [outcome("seed=1", 0.2), outcome("seed=2", status="failed"), outcome("seed=3", 0.4)]
    (found,) = summarize_seeds(outcomes, [TEST])
    assert (found.mean, found.num_seeds) == (pytest.approx(0.3), 2)
    assert summarize_seeds(outcomes[:2], [TEST]) == []  # one seed has no interval
    assert summarize_seeds([], [TEST]) == []
    assert summarize_seeds([outcome("loss=bce,seed=1", 0.1), outcome("loss=other,seed=2", 0.2)], [TEST]) == []


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.randoms())
def test_the_interval_contains_the_mean_in_any_order(values: list[float], random: object) -> None:
    def summary(order: list[int]) -> SeedSummary:
        (found,) = summarize_seeds([outcome(f"seed={place}", values[place]) for place in order], [TEST])
        return found

    order = list(range(len(values)))
    found, other = summary(order), summary(sorted(order, key=lambda place: -place))
    low, high = found.interval
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    assert (low + high) / 2 == pytest.approx(found.mean, abs=1e-9)
    assert (high - low) ** 2 >= 4 * found.sd**2 / len(values)  # t is above 1
    assert (found.mean, found.sd) == pytest.approx((other.mean, other.sd))
