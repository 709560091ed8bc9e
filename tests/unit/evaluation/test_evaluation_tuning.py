import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from evaluation_logs import make_history, make_holdout
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout
from twotower.evaluation.baselines import baseline_runner, ials
from twotower.evaluation.baselines.baseline import Baseline, BaselineData, Budget, TriedValues
from twotower.evaluation.baselines.baseline_runner import BaselineCache, BaselineRunner
from twotower.evaluation.baselines.ease import Ease
from twotower.evaluation.baselines.ials import Ials
from twotower.evaluation.baselines.item_knn import ItemKnn
from twotower.evaluation.baselines.recent_popularity_baseline import RecentPopularityBaseline
from twotower.evaluation.baselines.trend_ease import TrendEase
from twotower.evaluation.baselines.tuning import SettingsSearch, free_settings, log_tuning, tune
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.metrics.auc import Auc
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.novelty import Novelty
from twotower.evaluation.metrics.recall import Recall

HOUR = 3_600
RECALL = {"recall": Recall.Config()}
EVALUATOR = Evaluator.Config(ks=[5, 10], kinds=RECALL, num_bootstrap=0).build()
PAST = BaselineData(make_history([[1, 2]], times=[0, 40 * 24 * HOUR]), 3, now=40 * 24 * HOUR)


def searched(values: dict[float, float | None], grid: TriedValues, higher: bool = True) -> SettingsSearch:
    search = SettingsSearch(
        Ease.Config(), values[500] or 0.0, higher, lambda config: values[config.regularization]
    )
    search.choose("regularization", grid)
    return search


def test_a_search_follows_the_better_direction_and_ends_after_the_first_worse_value() -> None:
    grid = TriedValues((50, 160, 1600, 5000))
    tried = [config.regularization for config, _ in searched({500: 2, 1600: 1, 160: 3, 50: 1}, grid).tried]
    assert tried == [500, 1600, 160, 50]
    up = searched({500: 2, 1600: 3, 5000: 3}, grid)  # an equal value is not better
    assert (up.best.regularization, up.value, len(up.tried)) == (1600, 3, 3)
    assert searched({500: 2, 1600: 1, 160: 2, 50: 9}, grid).best.regularization == 500
    assert searched({500: 2, 1600: None, 160: 1}, grid).best.regularization == 500  # does not suit the data
    assert searched({500: 2, 1600: 3, 160: 1, 50: 2}, grid, higher=False).best.regularization == 160


@given(st.lists(st.integers(0, 5), min_size=5, max_size=5), st.booleans())
def test_all_values_of_a_setting_are_tried_where_it_may_have_several_peaks(
    measured: list[int], higher: bool
) -> None:
    values = dict(zip((50.0, 160.0, 500.0, 1600.0, 5000.0), map(float, measured), strict=True))
    search = searched(values, TriedValues(tuple(values), one_peak=False), higher)
    assert search.value == (max if higher else min)(values.values())
    assert values[search.best.regularization] == search.value
    assert len(search.tried) == len(values)


def test_settings_that_are_set_are_kept_and_those_of_an_earlier_base_class_are_tried() -> None:
    assert free_settings(RecentPopularityBaseline.Config(days=3), [], PAST) == []
    assert [name for name, _ in free_settings(ItemKnn.Config(neighbors=10), [], PAST)] == ["shrinkage"]
    earlier = [ItemKnn.Config(), Ease.Config(regularization=160)]
    names, grids = zip(*free_settings(TrendEase.Config(), earlier, PAST), strict=True)
    assert names == ("regularization", "dropout", "days", "exponent", "regularization", "dropout")
    assert (grids[0].values, grids[1].values) == ((160,), (0,))
    assert set(grids[4].values) == {50, 160, 500, 1600, 5000}  # the default too
    assert grids[2].values[0] == 1 / 24
    assert grids[2].values[-2:] == (28, 90)  # the log has 40 days


@pytest.mark.parametrize(
    ("monitor", "kinds", "metric"),
    [
        ("valid/ndcg_at_10", {"recall": Recall, "ndcg": Ndcg}, "ndcg_at_10"),
        ("valid/auc", {"auc": Auc, "ndcg": Ndcg, "recall": Recall}, "recall_at_5"),
        ("valid/novelty_at_5", {"novelty": Novelty, "ndcg": Ndcg}, "ndcg_at_5"),
        ("valid/recall_at_20", {"novelty": Novelty, "auc": Auc}, None),
    ],
)
def test_the_monitored_metric_chooses_if_baselines_have_it(
    monitor: str, kinds: dict[str, type], metric: str | None
) -> None:
    config = Evaluator.Config(ks=[10, 5], kinds={name: kind.Config() for name, kind in kinds.items()})
    assert config.list_metric(monitor) == metric


def hourly_log() -> tuple[BaselineData, Holdout]:
    """Forty users of a log of ten days; an item starts every 12 minutes and lives for an hour."""
    rng = np.random.default_rng(1)
    now, users = 240 * HOUR, 40
    times = np.sort(rng.integers(0, now, (users, 200)), axis=1)
    alive = times // (HOUR // 5) - rng.integers(0, 5, times.shape) + 5
    next_items = [
        rng.permutation(now // (HOUR // 5) + 5 - np.arange(1, 5))[:3].tolist() for _ in range(users)
    ]
    train = make_history(alive.tolist(), times.ravel().tolist())
    return BaselineData(train, int(alive.max()), now, is_tuning=True), make_holdout(next_items, [[]] * users)


def test_the_window_of_recent_popularity_is_an_hour_where_items_live_for_an_hour() -> None:
    past, holdout = hourly_log()
    configs = {"recent": RecentPopularityBaseline.Config(), "typed": RecentPopularityBaseline.Config(days=14)}
    tuned = tune(BaselineRunner(past, holdout, EVALUATOR), configs, "recall_at_10")
    assert tuned.configs["recent"].days == 1 / 24
    assert tuned.tuning["recent"]["chosen"] == {"days": 1 / 24}
    assert tuned.tuning["recent"]["complete"]
    assert "typed" not in tuned.tuning
    recalls = {name: report.metrics["recall_at_10"] for name, report in tuned.reports.items()}
    assert recalls["recent"] > 0.9
    assert recalls["typed"] < 0.1
    tried = {each["settings"]["days"]: each["value"] for each in tuned.tuning["recent"]["tried"]}
    assert [*tried] == [28, 14, 7, 3, 1, 1 / 3, 1 / 8, 1 / 24]
    assert tried[28] == recalls["typed"]


def test_fits_of_a_tuning_give_the_lists_of_fits_without_one() -> None:
    past, holdout = hourly_log()
    alone = BaselineData(past.train, past.num_items, past.now)
    configs = [
        Ease.Config(),
        Ease.Config(regularization=50),
        ItemKnn.Config(neighbors=5),
        TrendEase.Config(days=1),
    ]
    for config in configs:
        rows = [BaselineRunner(each, holdout, EVALUATOR).rank("any", config) for each in (past, alone)]
        np.testing.assert_array_equal(*rows)


class FakeFactors:
    """The library's factorization: recommends the item that it got as the number of factors."""

    def __init__(self, factors: int, **settings: Any) -> None:
        assert {*settings} == {"regularization", "alpha", "iterations", "random_state"}
        self.settings = {"factors": factors, **settings}
        self.fitted.append(self.settings)

    fitted: ClassVar[list[dict[str, Any]]] = []

    def fit(self, matrix: Any, show_progress: bool, callback: Callable[..., None]) -> None:
        callback(0, 0.0)
        self.item_factors = np.eye(matrix.shape[1], dtype=np.float32)

    def recalculate_user(self, users: np.ndarray, matrix: Any) -> np.ndarray:
        items = self.item_factors[[self.settings["factors"] - 1] * len(users)]
        return items if self.settings["alpha"] <= 10 else -items


def test_the_factorization_is_tuned_by_penalty_then_weight_then_factors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the library `implicit`: 128 factors recommend the only target, large weights reverse scores."""
    modules = {
        "implicit.cpu.als": SimpleNamespace(AlternatingLeastSquares=FakeFactors),
        "threadpoolctl": SimpleNamespace(threadpool_limits=lambda *_: contextlib.nullcontext()),
    }
    monkeypatch.setattr(ials, "import_module", modules.__getitem__)
    monkeypatch.setattr(ials, "find_spec", lambda _: True)
    holdout = make_holdout([[128]], [[1]])
    runner = BaselineRunner(BaselineData(holdout.history, 300, now=9, is_tuning=True), holdout, EVALUATOR)
    tuned = tune(runner, {"ials": Ials.Config(), "typed": Ials.Config(factors=8)}, "recall_at_5")
    settings = tuned.tuning["ials"]["tried"][0]["settings"]
    assert settings == {"regularization": 30, "alpha": 10, "factors": 64}
    tried = [
        {key: value for key, value in each["settings"].items() if value != settings[key]}
        for each in tuned.tuning["ials"]["tried"][1:]
    ]
    assert tried == [  # the nearest value on either side is not better, and of factors 128 is
        *({"regularization": 100}, {"regularization": 10}, {"alpha": 30}, {"alpha": 3}),
        *({"factors": 128}, {"factors": 256}),
    ]
    assert tuned.tuning["ials"]["chosen"] == {"regularization": 30, "alpha": 10, "factors": 128}
    assert tuned.reports["ials"].metrics["recall_at_5"] == 1
    assert {*tuned.tuning["typed"]["chosen"]} == {"regularization", "alpha"}
    assert {each["factors"] for each in FakeFactors.fitted} == {64, 128, 256, 8}


def test_a_tuning_that_runs_out_of_time_keeps_the_best_so_far(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(-30, 30)  # two defaults are free, each further fit takes 30 seconds
    now, rank = 0.0, BaselineRunner.rank

    def slow_rank(*arguments: Any) -> np.ndarray:
        nonlocal now
        now = max(0, next(seconds))
        return rank(*arguments)

    log, holdout = hourly_log()
    past = replace(log, budget=Budget(100, lambda: now))
    monkeypatch.setattr(BaselineRunner, "rank", slow_rank)
    configs = {"recent": RecentPopularityBaseline.Config(), "item_knn": ItemKnn.Config()}
    tuned = tune(BaselineRunner(past, holdout, EVALUATOR), configs, "recall_at_10")
    record = tuned.tuning["recent"]
    assert [each["settings"]["days"] for each in record["tried"]] == [28, 14, 7, 3]
    assert (record["complete"], tuned.tuning["item_knn"]["complete"]) == (False, False)
    assert (
        record["chosen"]["days"] == max(record["tried"], key=lambda each: each["value"])["settings"]["days"]
    )
    assert tuned.configs["item_knn"] == configs["item_knn"]
    assert {*tuned.reports} == {*configs}
    log_tuning(tuned, "recall_at_10", minutes=10)
    assert "baselines.minutes=10 ended the tuning of recent, item_knn" in caplog.text


def test_cached_settings_are_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, holdout = hourly_log()
    fitted: list[Baseline.Config] = []

    rank = BaselineRunner.rank

    def counted_rank(runner: BaselineRunner, name: str, config: Baseline.Config) -> np.ndarray:
        fitted.append(config)
        if config == ItemKnn.Config(neighbors=50):
            raise InputError("neighbors: do not suit the data")
        return rank(runner, name, config)

    monkeypatch.setattr(BaselineRunner, "rank", counted_rank)
    monkeypatch.setattr(baseline_runner, "MIN_SECONDS", 0.0)

    def tried(key: str, metric: str = "recall_at_10") -> list[dict[str, Any]]:
        past, cache = replace(log, _made={}), BaselineCache(tmp_path, (key,))
        tuned = tune(BaselineRunner(past, holdout, EVALUATOR, cache), {"knn": ItemKnn.Config()}, metric)
        return list(tuned.tuning["knn"]["tried"])

    first = tried("data")
    number = len(fitted)
    assert len(first) in (number, number - 1)  # the lists of the chosen settings are a fit, too
    assert tried("data") == first
    assert len(fitted) == number
    tried("other data"), tried("data", "recall_at_5")
    assert len(fitted) > 2 * number
    for path in tmp_path.iterdir():
        path.write_bytes(b"{}")
    assert tried("data") == first
