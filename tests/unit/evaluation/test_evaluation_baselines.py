from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
import torch
from evaluation_logs import make_history, make_holdout
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twotower.config.errors import InputError
from twotower.data.interactions import Interactions
from twotower.data.times import SECONDS_A_DAY
from twotower.evaluation.baselines import baseline_runner, ease
from twotower.evaluation.baselines.baseline import BaselineData, Budget, OutOfTime, latest_popularity
from twotower.evaluation.baselines.baseline_runner import (
    BaselineCache,
    BaselineRunner,
    rank_shared,
    request_time,
)
from twotower.evaluation.baselines.ease import Ease
from twotower.evaluation.baselines.popularity_baseline import PopularityBaseline
from twotower.evaluation.baselines.recent_popularity_baseline import RecentPopularityBaseline
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.top_k import top_k_by

CONFIGS = {
    "popularity": PopularityBaseline.Config(),
    "ease": Ease.Config(max_items=1),
}
EVALUATOR = Evaluator.Config(ks=[1, 2], kinds={"recall": Recall.Config()}, num_bootstrap=100).build()


def test_popularity_counts() -> None:
    baseline = PopularityBaseline.Config().build()
    baseline.fit(BaselineData(make_history([[1, 3], [3]]), 4, now=9))
    scores = baseline.scores(make_history([[], []]), np.array([1, 2]))
    assert scores.tolist() == [[1, 0, 2, 0]] * 2
    assert scores.dtype == np.float32


def test_recent_popularity_counts_only_the_window() -> None:
    day = SECONDS_A_DAY
    train = make_history([[1, 1, 2, 3, 4]], times=[0, 0, 9 * day, 9 * day, 10 * day])
    baseline = RecentPopularityBaseline.Config(days=1).build()
    baseline.fit(BaselineData(train, 4, now=10 * day))
    scores = baseline.scores(train, np.array([1]))[0]
    assert np.floor(scores).tolist() == [0, 1, 1, 0]  # item 4 comes at `now`, which is too late
    assert scores[0] > scores[3]  # all-time popularity breaks ties
    baseline.fit(BaselineData(make_history([[2, 2, 1]]), 3, now=100 * day))
    assert np.argsort(-baseline.scores(train, np.array([1]))[0]).tolist() == [1, 0, 2]  # nothing lately


def past_of(matrix: scipy.sparse.csr_array, budget: Budget | None = None) -> BaselineData:
    past = BaselineData(make_history([[]]), matrix.shape[1], now=9, budget=budget or Budget())
    past.once("matrix", lambda: matrix)
    return past


def test_ease_equals_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    train = make_history([[1, 2, 3], [1, 2, 2], [3, 4], [2, 4, 1], []])
    X = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 1]], dtype=np.float64)
    P = np.linalg.inv(X.T @ X + 2.0 * np.eye(4))
    B = np.eye(4) - P / np.diag(P)
    for block in (3, 1024):
        monkeypatch.setattr(ease, "BLOCK_ITEMS", block)
        baseline = Ease.Config(regularization=2.0).build()
        baseline.fit(BaselineData(train, 4, now=9))
        scores = baseline.scores(train, np.arange(1, 6))
        np.testing.assert_allclose(scores[:4], X @ B, atol=1e-6)
        # No history: popularity, as the last tenth, item 1, is in the whole log.
        assert np.floor(scores[4] + 1e-6).tolist() == [3, 4, 2, 2]


def test_ease_of_fewer_users_than_items_equals_the_closed_form_by_hand() -> None:
    # One user with items 1 and 2 of three, r = 1: P = inverse of [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    # = [[2/3, -1/3, 0], [-1/3, 2/3, 0], [0, 0, 1]], so B = I - P / diag(P) has B_12 = B_21 = 1/2, else 0.
    baseline = Ease.Config(regularization=1.0).build()
    baseline.fit(BaselineData(make_history([[1, 2]]), 3, now=9))
    scores = baseline.scores(make_history([[1], [1, 2], [3]]), np.array([1, 2, 3]))
    np.testing.assert_allclose(scores, [[0, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]], atol=1e-7)


def test_ease_solved_by_users_has_the_scores_of_ease_solved_by_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "BLOCK_ITEMS", 7)
    rng = np.random.default_rng(5)
    taken = scipy.sparse.csr_array((rng.random((12, 40)) < 0.3).astype(np.float32))
    asked = scipy.sparse.csr_array((rng.random((6, 40)) < 0.2).astype(np.float32))
    penalties = 3 + 0.5 * taken.sum(axis=0)
    by_users = ease.solve(past_of(taken), penalties)
    monkeypatch.setattr(ease, "solve_by_users", None)
    with pytest.raises(TypeError):  # 12 users of 40 items are solved by users
        ease.solve(past_of(taken), penalties)
    by_items = asked @ ease.item_weights((taken.T @ taken).toarray(), penalties)
    np.testing.assert_allclose(by_users(asked), by_items, atol=1e-6)


def test_dropout_adds_counts_to_the_diagonal() -> None:
    # Two users with both items, r = 1, p = 1/2: the diagonal is 2 + 1 + 2 = 5, so that P is proportional to
    # [[5, -2], [-2, 5]] and B_12 = 2 / 5; without dropout it is 2 / 3.
    for dropout, weight in ((0.0, 2 / 3), (0.5, 2 / 5)):
        baseline = Ease.Config(regularization=1.0, dropout=dropout).build()
        baseline.fit(BaselineData(make_history([[1, 2], [1, 2]]), 2, now=9))
        scores = baseline.scores(make_history([[1]]), np.array([1]))
        np.testing.assert_allclose(scores, [[0, weight]], atol=1e-6)


def test_run_reports_and_skips() -> None:
    holdout = make_holdout(targets=[[3], [2]], histories=[[1, 2], [1]])
    found = BaselineRunner(BaselineData(holdout.history, 4, now=9), holdout, EVALUATOR).run(CONFIGS)
    assert found.skipped == {"ease": "2 users and more items are above max_items = 1"}
    # popularity 2 1 0 0; seen items filtered: user 1 is shown 3 4, user 2 is shown 2 3
    assert found.reports["popularity"].metrics == {"recall_at_1": 1.0, "recall_at_2": 1.0}
    past = BaselineData(holdout.history, 3, now=9)
    skipped = BaselineRunner(past, holdout, EVALUATOR).run(CONFIGS).skipped
    assert skipped == {"ease": "3 items are above max_items = 1"}
    configs = {"ease": Ease.Config(max_items=2)}  # four items, two users
    past = BaselineData(holdout.history, 4, now=9)
    assert BaselineRunner(past, holdout, EVALUATOR).run(configs).skipped == {}
    train = make_history([[1, 2], [3]])  # who has 1 has 2, too
    configs = {"ease": Ease.Config(regularization=1e-30)}
    with pytest.raises(InputError, match=r"^baselines\.ease\.regularization: too small for these data"):
        BaselineRunner(BaselineData(train, 3, now=9), make_holdout([[3]], [[1]]), EVALUATOR).run(configs)


class Stopwatch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(PopularityBaseline):
    """Takes a minute for each block of users."""

    class Config(PopularityBaseline.Config):
        """Nothing to set."""

    clock: ClassVar[Stopwatch]
    blocks: ClassVar[list[int]]

    def shared_scores(self) -> None:
        return None

    def scores(self, history: Interactions, users: np.ndarray) -> NDArray[np.float32]:
        self.clock.now += 60
        self.blocks.append(int(users[0]))
        return super().scores(history, users)


def test_a_baseline_is_ended_between_blocks_once_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.evaluation.top_k.BLOCK_USERS", 1)
    monkeypatch.setattr(Slow, "clock", Stopwatch(), raising=False)
    monkeypatch.setattr(Slow, "blocks", [], raising=False)
    holdout = make_holdout(targets=[[3], [2], [1]], histories=[[1, 2], [1], [2]])
    configs = {
        "first": PopularityBaseline.Config(),
        "slow": Slow.Config(),
        "last": PopularityBaseline.Config(),
    }
    past = BaselineData(holdout.history, 4, now=9, budget=Budget(100, Slow.clock))
    found = BaselineRunner(past, holdout, EVALUATOR).run(configs)
    assert Slow.blocks == [1, 2]  # users, one a block: the third does not begin
    assert list(found.reports) == ["first"]
    assert found.out_of_time == ["slow", "last"]
    assert found.skipped["slow"].startswith("did not fit into baselines.minutes")


def test_half_of_a_budget_is_half_of_what_is_left() -> None:
    clock = Stopwatch()
    budget = Budget(100, clock)
    clock.now = 40
    half = budget.half()
    assert (budget.left(), half.left()) == (60, 30)
    half.check(30)
    with pytest.raises(OutOfTime):
        half.check(31)


def test_an_inverse_that_would_take_too_long_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "seconds_to_invert", lambda size, dtype: float(size))
    monkeypatch.setattr(ease, "gram_matrix", None)
    few, many = (scipy.sparse.csr_array(np.ones((users, 8), dtype=np.float32)) for users in (3, 8))
    for taken in (few, many):
        with pytest.raises(OutOfTime):
            ease.solve(past_of(taken, Budget(2, Stopwatch())), 1.0)


def test_the_time_of_an_inverse_grows_with_the_cube_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "LONG_TO_INVERT", 40)
    monkeypatch.setattr(ease, "SAMPLE", 10)
    monkeypatch.setattr(ease, "time", SimpleNamespace(monotonic=iter([0.0, 0.5]).__next__))
    assert ease.seconds_to_invert(39, np.float32) == 0
    assert ease.seconds_to_invert(40, np.float32) == 0.5 * 4**3


def test_request_time_is_the_cutoff_or_the_end_of_the_log() -> None:
    holdout = make_holdout(targets=[[1], [1]], histories=[[], []], now=77)
    train = make_history([[1, 2]], times=[5, 50])
    assert request_time(holdout, train) == 77
    holdout.request_times[0] = 3
    assert request_time(holdout, train) == 51


def test_lists_that_took_long_are_computed_once_and_again_where_they_were_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline_runner, "MIN_SECONDS", 0.0)
    made: list[float] = []

    def take(regularization: float, data: str = "data") -> list[list[int]]:
        config = Ease.Config(regularization=regularization)

        def make() -> NDArray[np.int64]:
            made.append(regularization)
            return np.array([[3, 1, 0]])

        return BaselineCache(tmp_path, (data, 100)).get_or_compute(config, make).tolist()

    assert take(2.0) == take(2.0) == [[3, 1, 0]]
    assert made == [2.0]
    take(3.0), take(2.0, "other data")
    assert made == [2.0, 3.0, 2.0]
    for damage in (
        lambda content: content[:-8] + bytes(8),
        lambda content: content[:40],
        lambda content: b"",
        lambda content: content.replace(np.int32([3]).tobytes(), np.int32([2]).tobytes()),
    ):
        for path in tmp_path.iterdir():
            path.write_bytes(damage(path.read_bytes()))
        assert take(2.0) == [[3, 1, 0]]
    assert made == [2.0, 3.0, *[2.0] * 5]


def test_a_baseline_of_another_package_is_asked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline_runner, "MIN_SECONDS", 0.0)
    for row in (3, 1):
        lists = BaselineCache(tmp_path, ())
        assert lists.get_or_compute(Slow.Config(), lambda: np.array([[row]])).tolist() == [[row]]  # noqa: B023


def test_ease_beyond_the_memory_is_skipped_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(num_users: int, num_items: int) -> str | None:
        return Ease.Config().skip_reason(BaselineData(make_history([[1]] * num_users), num_items, now=9))

    monkeypatch.setattr("twotower.config.memory.usable_bytes", lambda: 10**9)
    assert reason(20_000, 15_000) is None
    said = "20000 x 20000 weights take about 1.6 GB, and this process may use 1.0 GB"
    assert reason(20_000, 20_000) == said
    assert reason(5_000, 1_000_000) is None  # solved by users
    said = "10000 x 10000 weights take about 1.6 GB, and this process may use 1.0 GB"
    assert reason(10_000, 1_000_000) == said


def test_users_without_a_history_get_the_popularity_of_the_part_that_finds_the_latest_items() -> None:
    # Twenty clicks; of the last two (items 3, 3) the first eighteen have item 3 in their last half alone.
    monthly = [1] * 9 + [2] * 5 + [3] * 4 + [3, 3]
    log = make_history([monthly])
    assert latest_popularity(log, 3)[2] == pytest.approx(6 + 6 / 10)
    many = [*range(1, 31)] * 2 + [40] * 20 + [41, *[40] * 9]  # 20 places: item 41 is in none of the parts
    scores = latest_popularity(make_history([many]), 41)
    assert scores[39] == 29 + 29 / 30  # the part that is found is the whole log: item 40 is in all of them
    fresh = (
        [row for row in range(1, 51) for _ in range(2)] + [60] * 4 + [60] * 11
    )  # not among 20 of the whole
    assert latest_popularity(make_history([fresh]), 60)[59] > latest_popularity(make_history([fresh]), 60)[0]
    assert latest_popularity(make_history([[]]), 3).tolist() == [0, 0, 0]


@given(
    st.lists(st.integers(0, 4), min_size=8, max_size=8),
    st.lists(st.sets(st.integers(1, 8), max_size=8), min_size=1, max_size=5),
    st.integers(1, 8),
)
def test_lists_by_shared_scores_are_those_of_a_full_ranking(
    counts: list[int], seen: list[set[int]], k: int
) -> None:
    owners = np.array([user for user, rows in enumerate(seen) for _ in rows], dtype=np.int64)
    excluded = owners, np.array([row for rows in seen for row in sorted(rows)], dtype=np.int64)
    scores = np.array(counts, dtype=np.float32)

    def score(queries: slice) -> torch.Tensor:
        return torch.from_numpy(np.tile(scores, (queries.stop - queries.start, 1)))

    expected, _ = top_k_by(score, len(seen), len(scores), k, excluded)
    np.testing.assert_array_equal(rank_shared(scores, len(seen), k, excluded), expected)
