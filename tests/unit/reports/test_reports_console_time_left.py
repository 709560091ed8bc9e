"""The estimate of the time left, by hand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.progress import in_words
from twotower.reports.console.sweep_view import SweepView
from twotower.runs.outcome import Outcome


def view(num_jobs: int | None, num_trainings: int | None = None) -> SweepView:
    return SweepView(Path(), num_jobs, "valid/recall_at_20", num_trainings)


def ended(seconds: float, status: str = "ok", reused: bool = False, skipped: bool = False) -> Outcome:
    return Outcome("x", status, seconds, {}, "y" if reused else None, Path("x"), None, skipped)


def test_nothing_is_said_before_a_job_has_run() -> None:
    left = view(5)
    assert left.seconds_left(0.0) is None
    left.ended(ended(0.0, skipped=True))
    left.ended(ended(1.0, "failed"))
    assert left.seconds_left(0.0) is None
    assert view(None).seconds_left(0.0) is None


def test_skipped_and_failed_jobs_do_not_make_the_rest_look_quick() -> None:
    left = view(6)
    for outcome in (ended(0.0, skipped=True), ended(0.5, "failed"), ended(60.0)):
        left.ended(outcome)
    assert left.seconds_left(0.0) == 3 * 60.0


def test_reused_towers_are_averaged_apart_where_the_sweep_says_how_many_train() -> None:
    left = view(10, num_trainings=2)
    for outcome in (ended(60.0), ended(3.0, reused=True), ended(5.0, reused=True)):
        left.ended(outcome)
    assert left.seconds_left(0.0) == 1 * 60.0 + 6 * 4.0


def test_without_that_the_share_so_far_goes_on() -> None:
    left = view(8)
    for outcome in (ended(60.0), ended(3.0, reused=True), ended(3.0, reused=True), ended(3.0, reused=True)):
        left.ended(outcome)
    assert left.seconds_left(0.0) == 1 * 60.0 + 3 * 3.0


def test_jobs_at_the_same_time_share_the_work_and_what_they_have_done_counts() -> None:
    left = view(4)
    left.started("a", 0.0)
    left.started("b", 0.0)
    left.began.pop("a")
    left.ended(ended(10.0))
    assert left.seconds_left(4.0) == (3 * 10.0 - 4.0) / 2


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), min_size=1), st.integers(0, 50))
def test_never_negative(jobs: list[tuple[float, bool]], more: int) -> None:
    left = view(len(jobs) + more)
    left.started("slow", 0.0)
    for seconds, reused in jobs:
        left.ended(ended(seconds, reused=reused))
    estimate = left.seconds_left(1e9)
    assert estimate is not None
    assert estimate >= 0.0
    if not more:
        assert estimate == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
