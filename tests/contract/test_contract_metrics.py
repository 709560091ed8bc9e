"""What every metric promises; they are found by importing the package, so that a new one is tested too.

It holds for one of somebody else's too, which is no share and is better the lower it is.
"""

import doctest
import importlib
import inspect
import pkgutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from variants import specs_of

import twotower.evaluation.metrics
from twotower.commands.compose import load_settings
from twotower.evaluation.evaluator import Evaluator
from twotower.evaluation.item_content import unit
from twotower.evaluation.metrics.label_metric import LabelMetric, Scored
from twotower.evaluation.metrics.metric import CatalogueMetric, Metric, Ranking, UserMetric
from twotower.evaluation.metrics.metric_data import MetricData
from twotower.experiments.runs.higher_is_better import higher_is_better

VECTORS = unit(sparse.csr_array(np.eye(4)[np.arange(12) % 4] + np.eye(4)[np.arange(12) % 3]))
DATA = MetricData(pd.DataFrame(), pd.DataFrame(), {"content": lambda: VECTORS})
GROUP = sorted((Path(__file__).parents[2] / "conf" / "metrics").glob("*.yaml"))


def found_metrics() -> list[Metric]:
    metrics = []
    for module in pkgutil.iter_modules(twotower.evaluation.metrics.__path__):
        for _, kind in inspect.getmembers(
            importlib.import_module(f"twotower.evaluation.metrics.{module.name}")
        ):
            if inspect.isclass(kind) and issubclass(kind, Metric) and not inspect.isabstract(kind):
                metrics.append(kind)
    return [fitted(kind.Config()) for kind in dict.fromkeys(metrics) if kind is not Metric]


def fitted(config: Metric.Config) -> Metric:
    metric = config.build()
    metric.fit(DATA)
    return metric


OURS = found_metrics()
THEIRS = [
    metric
    for choice in specs_of("metrics").values()
    for spec in choice["kinds"].values()
    if type(metric := fitted(Metric.Config.model_validate(spec))) not in map(type, OURS)
]
METRICS = [*OURS, *THEIRS]
USER_METRICS = [metric for metric in METRICS if isinstance(metric, UserMetric)]
SHARES = [metric for metric in OURS if isinstance(metric, UserMetric) and metric.higher_is_better]
LABEL_METRICS = [metric for metric in METRICS if isinstance(metric, LabelMetric)]
CATALOGUE_METRICS = [metric for metric in METRICS if isinstance(metric, CatalogueMetric)]


def named(metric: object) -> str:
    return getattr(metric, "name", "")


@st.composite
def examples(draw: st.DrawFn) -> Scored:
    """A few users, scores with ties, and weights, some of them 0."""
    size = draw(st.integers(0, 12))

    def column(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=size, max_size=size))

    numbers = np.unique(column(st.integers(0, 3)), return_inverse=True)[1]  # every number has an example
    return Scored.from_lists(
        numbers.tolist(),
        [int(label) for label in column(st.integers(0, 1))],
        column(st.sampled_from([-800.0, -2.0, -0.5, 0.0, 0.5, 0.75, 900.0])),
        column(st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0])),
    )


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    num_items = draw(st.integers(1, 12))
    num_users = draw(st.integers(1, 5))
    places = draw(st.integers(1, num_items))
    rows = st.integers(1, num_items)
    lists = []
    for _ in range(num_users):
        listed = draw(st.lists(rows, unique=True, max_size=places))
        lists.append(listed + [0] * (places - len(listed)))
    relevant = [draw(st.sets(rows)) for _ in range(num_users)]
    popularity = draw(st.lists(st.integers(0, 50), min_size=num_items, max_size=num_items))
    histories = [draw(st.lists(rows, max_size=3)) for _ in range(num_users)]
    return Ranking.from_lists(lists, relevant, popularity, histories)


def test_the_package_was_searched() -> None:
    assert {metric.name for metric in METRICS} >= {
        *("recall", "ndcg", "mrr", "hit_rate", "precision", "map", "novelty", "coverage", "gini"),
        *("ips_recall", "ips_ndcg", "popularity_bias", "intra_list_diversity", "serendipity"),
        *("exposure_gap", "user_gap"),
        *("auc", "gauc", "log_loss", "calibration"),
    }
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", USER_METRICS, ids=named)
@given(ranking=rankings(), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_user_metric_is_finite_and_independent_of_other_users(
    metric: UserMetric, ranking: Ranking, seed: int
) -> None:
    """All items right are better than none; a metric of the items alone sees no difference."""
    relevant = [np.trim_zeros(row).tolist() for row in ranking.items]
    every = Ranking.from_lists(ranking.items.tolist(), relevant, ranking.popularity[1:].tolist())
    every = replace(every, hits=ranking.items > 0, history=ranking.history)
    none = replace(every, hits=np.zeros_like(ranking.hits))
    for k in range(1, ranking.max_k + 1):
        values = metric.per_user(ranking, k)
        assert values.dtype == np.float64
        assert values.shape == (len(ranking.items),)
        assert np.isfinite(values).all()
        if metric in SHARES:
            assert ((values >= 0) & (values <= 1 + 1e-12)).all()
            assert (values[ranking.num_relevant == 0] == 0).all()
        gained = metric.per_user(every, k) - metric.per_user(none, k)
        if metric.higher_is_better is None:
            assert (gained == 0).all()
        else:
            assert ((gained if metric.higher_is_better else -gained) >= 0).all()
    order = np.random.default_rng(seed).permutation(len(ranking.items))
    expected = metric.per_user(ranking, ranking.max_k)[order]
    np.testing.assert_allclose(metric.per_user(ranking.take(order), ranking.max_k), expected, atol=1e-12)


def test_each_of_ours_says_which_way_is_better() -> None:
    said = {metric.name: metric.higher_is_better for metric in OURS}
    assert said == {
        **dict.fromkeys(("recall", "uncapped_recall", "ndcg", "mrr", "hit_rate", "precision", "map"), True),
        **dict.fromkeys(("ips_recall", "ips_ndcg", "serendipity"), True),
        **dict.fromkeys(("popularity_bias", "intra_list_diversity", "exposure_gap", "user_gap"), None),
        "coverage": True,
        "gini": False,
        "novelty": None,
        **dict.fromkeys(("auc", "gauc"), True),
        "log_loss": False,
        "calibration": None,
    }
    # A result that does not record it has no direction.
    assert all(higher_is_better(f"test/{name}_at_20") is None for name in said)
    assert {name: higher_is_better(f"test/{name}", [said]) for name in said} == said


@pytest.mark.parametrize("metric", CATALOGUE_METRICS, ids=named)
@given(ranking=rankings(), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_catalogue_metric_ignores_the_order_of_users(
    metric: CatalogueMetric, ranking: Ranking, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(ranking.items))
    value = metric.value(ranking, ranking.max_k)
    assert np.isfinite(value)
    assert 0 <= value <= 1 or metric not in OURS
    assert metric.value(ranking.take(order), ranking.max_k) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("metric", [each for each in SHARES if each.name != "uncapped_recall"], ids=named)
def test_a_perfect_list_scores_1(metric: UserMetric) -> None:
    ranking = Ranking.from_lists(
        [[1, 2, 3], [3, 2, 1]], relevant=[{1, 2, 3}, {1, 2, 3, 4}], popularity=[1] * 4
    )
    for k in (1, 2, 3):
        np.testing.assert_allclose(metric.per_user(ranking, k), 1.0)


@pytest.mark.parametrize("metric", METRICS, ids=named)
def test_empty_lists_and_no_users_are_defined(metric: Metric) -> None:
    empty = Ranking.from_lists([[0, 0]], relevant=[set()], popularity=[0, 0])
    nobody = empty.take(np.array([False]))
    if isinstance(metric, UserMetric):
        values = metric.per_user(empty, 2).tolist()
        assert metric.per_user(nobody, 2).shape == (0,)
    elif isinstance(metric, LabelMetric):
        assert metric.value(Scored.from_lists([], [], [])) is None
        values = []
    else:
        assert isinstance(metric, CatalogueMetric)
        values = [metric.value(empty, 2), metric.value(nobody, 2)]
    assert np.isfinite(values).all()
    assert not any(values) or metric not in OURS


@pytest.mark.parametrize("metric", METRICS, ids=named)
def test_the_docstring_has_an_example_that_holds(metric: Metric) -> None:
    found = doctest.testmod(importlib.import_module(type(metric).__module__))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=named)
@given(scored=examples(), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_metric_of_labels_is_finite_or_not_defined(metric: LabelMetric, scored: Scored, seed: int) -> None:
    """It does not look at the order of examples, and a weight counts as so many examples."""
    value, influence = metric.value(scored), None
    if value is None:
        return
    influence = metric.influence(scored)
    assert np.isfinite(value)
    if influence is not None:
        assert influence.shape == (scored.num_users,)
        assert influence.sum() == pytest.approx(0, abs=1e-9 * max(1, abs(influence).max()))
    order = np.random.default_rng(seed).permutation(len(scored.labels))
    columns = scored.users, scored.labels, scored.logits, scored.weights
    assert metric.value(Scored(*(column[order] for column in columns))) == pytest.approx(value)
    times = (2 * scored.weights).astype(int)  # 2 w times with a weight of 1 is w, twice over
    several = Scored(*(np.repeat(column, times) for column in columns[:3]), np.ones(times.sum()))
    assert metric.value(several) == pytest.approx(value)


@pytest.mark.parametrize("metric", LABEL_METRICS, ids=named)
@given(scored=examples())
@settings(max_examples=50, deadline=None)
def test_the_better_way_is_that_of_the_labels(metric: LabelMetric, scored: Scored) -> None:
    """Logits that agree with the labels are no worse than those that contradict them."""
    agree, contradict = (
        replace(scored, logits=np.where(scored.labels, sign, -sign).astype(float)) for sign in (1, -1)
    )
    values = metric.value(agree), metric.value(contradict)
    if metric.higher_is_better is not None and None not in values:
        assert (values[0] > values[1]) == metric.higher_is_better


@pytest.mark.parametrize("path", GROUP, ids=lambda path: path.stem)
def test_yaml_builds_an_evaluator_that_names_its_keys(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# twotower ")
    assert len(text.splitlines()) <= 25
    composed = load_settings("train", [f"metrics={path.stem}"])["metrics"]
    config = Evaluator.Config.model_validate(composed)
    keys = config.keys()
    assert f"recall_at_{config.ks[0]}" in keys
    assert len(keys) == len(set(keys))
