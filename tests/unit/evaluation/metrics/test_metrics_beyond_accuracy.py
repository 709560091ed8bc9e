"""Popularity bias, diversity, serendipity and gaps of groups: by hand, and against loops."""

from itertools import combinations
from math import log2, sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from twotower.config.choice_context import ChoiceContext
from twotower.config.errors import InputError
from twotower.evaluation.metrics import similarity_metric
from twotower.evaluation.metrics.exposure_gap import ExposureGap
from twotower.evaluation.metrics.intra_list_diversity import IntraListDiversity
from twotower.evaluation.metrics.metric import Metric, Ranking
from twotower.evaluation.metrics.metric_data import MetricData
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.popularity_bias import PopularityBias
from twotower.evaluation.metrics.serendipity import Serendipity
from twotower.evaluation.metrics.user_gap import UserGap

HALF = sqrt(0.5)
VECTORS = [[1, 0, 0], [1, 0, 0], [HALF, HALF, 0], [0, 0, 1], [0, 0, 0]]  # item 5 has none
USERS = pd.DataFrame({"user_id": [7, 8, 9], "sex": ["f", None, "f"], "zip": [1, 2, 3]})
ITEMS = pd.DataFrame({"item_id": [1, 2, 3, 4, 5], "shop": ["a", "a", "b", "b", "b"]})
RANKING = Ranking.from_lists(
    [[1, 2, 3], [4, 5, 0], [2, 0, 0]],
    relevant=[{2, 3}, {4, 1}, {3}],
    popularity=[7, 3, 1, 1, 0],
    histories=[[2, 4, 0], [], [1, 1]],
)


def fitted(config: Any, vectors: Any = VECTORS) -> Any:
    metric: Metric = config.build()
    matrix = sparse.csr_array(np.array(vectors))
    metric.fit(MetricData(USERS, ITEMS, {"content": lambda: matrix}))
    return metric


@pytest.mark.parametrize(
    ("config", "k", "expected"),
    [
        # histories of the popularity (4 + 2) / 2, none, 8; 0 is an unknown item
        (PopularityBias.Config(), 1, [log2(8 / 3), 0, log2(4 / 8)]),
        (PopularityBias.Config(), 3, [log2((8 + 4 + 2) / 3 / 3), 0, log2(4 / 8)]),
        (IntraListDiversity.Config(), 1, [0, 0, 0]),
        (IntraListDiversity.Config(), 2, [0, 1, 0]),
        (IntraListDiversity.Config(), 3, [1 - (1 + HALF + HALF) / 3, 1, 0]),
        (Serendipity.Config(), 1, [0, 1, 0]),
        (Serendipity.Config(), 3, [((1 - 1 / 2) + (1 - HALF / 2)) / 2, 1 / 2, 0]),
    ],
    ids=lambda value: getattr(value, "owner", value) if not isinstance(value, list) else "",
)
def test_values_of_users(config: Any, k: int, expected: list[float], monkeypatch: Any) -> None:
    metric = fitted(config)
    np.testing.assert_allclose(metric.per_user(RANKING, k), expected, atol=1e-12)
    monkeypatch.setattr(similarity_metric, "USERS_AT_ONCE", 2)
    np.testing.assert_allclose(metric.per_user(RANKING, k), expected, atol=1e-12)


def test_similarities_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        vectors = rng.normal(size=(12, 3)) * (rng.random((12, 1)) < 0.9)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        listed, past = rng.permutation(12)[:6] + 1, rng.integers(1, 13, 5)
        wanted = set((rng.permutation(12)[:5] + 1).tolist())
        ranking = Ranking.from_lists([listed], [wanted], [1] * 12, [past])
        cosines = vectors @ vectors.T
        pairs = [1 - cosines[one - 1, other - 1] for one, other in combinations(listed, 2)]
        diversity = fitted(IntraListDiversity.Config(), vectors)
        assert diversity.per_user(ranking, 6) == pytest.approx(np.mean(pairs))
        shuffled = Ranking.from_lists([rng.permutation(listed)], [wanted], [1] * 12, [past])
        assert diversity.per_user(shuffled, 6) == pytest.approx(diversity.per_user(ranking, 6))
        hits = [np.mean([1 - cosines[row - 1, old - 1] for old in past]) for row in listed if row in wanted]
        found = fitted(Serendipity.Config(), vectors).per_user(ranking, 6)
        assert found == pytest.approx(sum(hits) / len(wanted))


def test_exposure_of_groups() -> None:
    # Of six recommended items three are of shop a, as are 10 of 12 training interactions.
    metric = fitted(ExposureGap.Config(by="shop"))
    gaps = metric.by_group(RANKING, 3)
    assert gaps == {"item_shop": {"a": pytest.approx(3 / 6 - 10 / 12), "b": pytest.approx(10 / 12 - 3 / 6)}}
    assert metric.value(RANKING, 3) == pytest.approx(1 / 3)
    by_popularity = fitted(ExposureGap.Config()).by_group(RANKING, 1)["item_popularity"]
    assert by_popularity == {
        "head": pytest.approx(1 / 3 - 7 / 12),
        "mid": pytest.approx(1 / 3 - 3 / 12),
        "tail": pytest.approx(1 / 3 - 2 / 12),
    }


def test_exposure_in_proportion_has_no_gap() -> None:
    ranking = Ranking.from_lists([[1], [1], [2], [3]], [set()] * 4, popularity=[10, 5, 5])
    assert ExposureGap.Config().build().value(ranking, 1) == 0


def test_gaps_of_users() -> None:
    # Recall@3 is 1, 1/2 and 0; users 1 and 3 have a history, of three and two interactions.
    assert UserGap.Config(min_users=1).build().by_group(RANKING, 3) == {
        "user_activity": {"cold": 0.5, "low": 0.0, "high": 1.0}
    }
    by_sex = fitted(UserGap.Config(by="sex", min_users=1))
    assert by_sex.by_group(RANKING, 3) == {"user_sex": {"f": 0.5, "missing": 0.5}}
    assert by_sex.value(RANKING, 3) == 0
    larger = fitted(UserGap.Config(by="sex", min_users=2))
    assert larger.by_group(RANKING, 3) == {"user_sex": {"f": 0.5}}
    assert larger.value(RANKING, 3) == 0
    ndcg = fitted(UserGap.Config(by="sex", min_users=1, metric=Ndcg.Config()))
    own = Ndcg.Config().build().per_user(RANKING, 3)
    assert ndcg.value(RANKING, 3) == pytest.approx(abs((own[0] + own[2]) / 2 - own[1]))


def test_gap_of_a_metric_that_reads_the_data() -> None:
    metric = fitted(UserGap.Config(min_users=1, metric=Serendipity.Config()))
    assert metric.value(RANKING, 1) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (UserGap.Config(by="sexe"), "by: there is no column 'sexe'; did you mean 'sex'"),
        (ExposureGap.Config(by="price"), "by: there is no column 'price'"),
    ],
)
def test_data_without_what_a_metric_reads(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitted(config)


def test_items_without_features_have_no_content() -> None:
    expected = [("by", "the items have no features besides ids; use embeddings")]
    assert list(Serendipity.Config().problems(ChoiceContext({"has_content": False}))) == expected
    assert not list(Serendipity.Config(by="embeddings").problems(ChoiceContext({"has_content": False})))
    assert not list(Serendipity.Config().problems(ChoiceContext({"has_content": True})))


def test_a_column_of_many_values_makes_no_groups() -> None:
    table = pd.DataFrame({"zip": range(101)})
    with pytest.raises(InputError, match="'zip' has 101 values; use one with at most 100 groups"):
        UserGap.Config(by="zip").build().fit(MetricData(table, table, {}))
