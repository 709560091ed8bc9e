from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_logs import make_history, make_holdout
from hypothesis import given
from hypothesis import strategies as st

from twotower.config.errors import InputError
from twotower.data.dataset import Holdout
from twotower.evaluation.baselines import tuning
from twotower.evaluation.baselines.baseline import Axis, Baseline, BaselineData, Budget
from twotower.evaluation.baselines.ease import Ease
from twotower.evaluation.baselines.item_knn import ItemKnn
from twotower.evaluation.baselines.recent_popularity_baseline import RecentPopularityBaseline
from twotower.evaluation.baselines.run_baselines import ListCache, rank_by_baseline
from twotower.evaluation.baselines.trend_ease import TrendEase
from twotower.evaluation.baselines.tuning import Search, Tuner, free_settings, tuning_metric
from twotower.evaluation.evaluator import Evaluator
from twotower.metrics.auc import Auc
from twotower.metrics.ndcg import Ndcg
from twotower.metrics.novelty import Novelty
from twotower.metrics.recall import Recall

HOUR = 3_600
RECALL = {"recall": Recall.Config()}
EVALUATOR = Evaluator.Config(ks=[5, 10], kinds=RECALL, num_bootstrap=0).build()
PAST = BaselineData(make_history([[1, 2]], times=[0, 40 * 24 * HOUR]), 3, now=40 * 24 * HOUR)


def searched(values: dict[float, float | None], axis: Axis, higher: bool = True) -> Search:
    search = Search(Ease.Config(), values[500] or 0.0, higher, lambda config: values[config.regularization])
    search.choose("regularization", axis)
    return search


def test_a_search_follows_the_better_direction_and_ends_after_the_first_worse_value() -> None:
    axis = Axis((50, 160, 1600, 5000))
    tried = [config.regularization for config, _ in searched({500: 2, 1600: 1, 160: 3, 50: 1}, axis).tried]
    assert tried == [500, 1600, 160, 50]
    up = searched({500: 2, 1600: 3, 5000: 3}, axis)  # an equal value is not better
    assert (up.best.regularization, up.value, len(up.tried)) == (1600, 3, 3)
    assert searched({500: 2, 1600: 1, 160: 2, 50: 9}, axis).best.regularization == 500
    assert searched({500: 2, 1600: None, 160: 1}, axis).best.regularization == 500  # does not suit the data
    assert searched({500: 2, 1600: 3, 160: 1, 50: 2}, axis, higher=False).best.regularization == 160


@given(st.lists(st.integers(0, 5), min_size=5, max_size=5), st.booleans())
def test_all_values_of_a_setting_are_tried_where_it_may_have_several_peaks(
    measured: list[int], higher: bool
) -> None:
    values = dict(zip((50.0, 160.0, 500.0, 1600.0, 5000.0), map(float, measured), strict=True))
    search = searched(values, Axis(tuple(values), one_peak=False), higher)
    assert search.value == (max if higher else min)(values.values())
    assert values[search.best.regularization] == search.value
    assert len(search.tried) == len(values)


def test_settings_that_are_set_are_kept_and_those_of_an_earlier_base_class_are_tried() -> None:
    assert free_settings(RecentPopularityBaseline.Config(days=3), [], PAST) == {}
    assert [*free_settings(ItemKnn.Config(neighbors=10), [], PAST)] == ["shrinkage"]
    space = free_settings(TrendEase.Config(), [ItemKnn.Config(), Ease.Config(regularization=160)], PAST)
    assert [*space] == ["regularization", "days", "exponent"]
    assert space["regularization"].values == (160,)
    assert space["days"].values[0] == 1 / 24
    assert space["days"].values[-2:] == (28, 90)  # the log has 40 days


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
    assert tuning_metric(monitor, config) == metric


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
    tuned = Tuner(past, holdout, EVALUATOR, "recall_at_10").tune(configs)
    assert tuned.configs["recent"].days == 1 / 24
    assert tuned.record["recent"]["chosen"] == {"days": 1 / 24}
    assert tuned.record["recent"]["complete"]
    assert "typed" not in tuned.record
    recalls = {name: report.metrics["recall_at_10"] for name, report in tuned.reports.reports.items()}
    assert recalls["recent"] > 0.9
    assert recalls["typed"] < 0.1
    tried = {each["settings"]["days"]: each["value"] for each in tuned.record["recent"]["tried"]}
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
        rows = [rank_by_baseline("any", config, EVALUATOR, holdout, each) for each in (past, alone)]
        np.testing.assert_array_equal(*rows)


def test_a_tuning_that_runs_out_of_time_keeps_the_best_so_far(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def rank(*arguments: Any) -> np.ndarray:
        nonlocal now
        now += 30
        return rank_by_baseline(*arguments)

    log, holdout = hourly_log()
    past = replace(log, budget=Budget(100, lambda: now))
    monkeypatch.setattr(tuning, "rank_by_baseline", rank)
    configs = {"recent": RecentPopularityBaseline.Config(), "item_knn": ItemKnn.Config()}
    tuned = Tuner(past, holdout, EVALUATOR, "recall_at_10").tune(configs)
    record = tuned.record["recent"]
    assert [each["settings"]["days"] for each in record["tried"]] == [28, 14, 7, 3]
    assert (record["complete"], tuned.record["item_knn"]["complete"]) == (False, False)
    assert (
        record["chosen"]["days"] == max(record["tried"], key=lambda each: each["value"])["settings"]["days"]
    )
    assert tuned.configs["item_knn"] == configs["item_knn"]
    assert {*tuned.reports.reports} == {*configs}
    tuned.log("recall_at_10", minutes=10)
    assert "baselines.minutes=10 ended the tuning of recent, item_knn" in caplog.text


def test_cached_settings_are_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, holdout = hourly_log()
    fitted: list[Baseline.Config] = []

    def rank(name: str, config: Baseline.Config, *rest: Any) -> np.ndarray:
        fitted.append(config)
        if config == ItemKnn.Config(neighbors=50):
            raise InputError("neighbors: do not suit the data")
        return rank_by_baseline(name, config, *rest)

    monkeypatch.setattr(tuning, "rank_by_baseline", rank)

    def tune(key: str, metric: str = "recall_at_10") -> list[dict[str, Any]]:
        past = replace(log, _made={})
        record = Tuner(past, holdout, EVALUATOR, metric, ListCache(tmp_path, (key,))).tune(
            {"knn": ItemKnn.Config()}
        )
        return list(record.record["knn"]["tried"])

    first = tune("data")
    number = len(fitted)
    assert len(first) == number + 1  # the default is measured by its report
    assert tune("data") == first
    assert len(fitted) == number
    tune("other data"), tune("data", "recall_at_5")
    assert len(fitted) > 2 * number
    for path in tmp_path.glob("*.json"):
        path.write_text("{}")
    assert tune("data") == first
