"""Every metric against numbers worked out by hand.

Three users, catalogue of 6: user 0 hits at places 1 and 3 of 4 with three relevant, user 1 hits at place 2
with one relevant, user 2 hits nothing and ran out after two items.
"""

from math import log2

import numpy as np
import pytest

from twotower.evaluation.metrics.average_precision import AveragePrecision
from twotower.evaluation.metrics.coverage import Coverage
from twotower.evaluation.metrics.gini import Gini
from twotower.evaluation.metrics.hit_rate import HitRate
from twotower.evaluation.metrics.metric import CatalogueMetric, Ranking, UserMetric
from twotower.evaluation.metrics.mrr import Mrr
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.novelty import Novelty
from twotower.evaluation.metrics.precision import Precision
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.metrics.uncapped_recall import UncappedRecall

RANKING = Ranking.from_lists(
    [[1, 2, 3, 4], [1, 5, 2, 3], [2, 1, 0, 0]],
    relevant=[{1, 3, 6}, {5}, {6, 4}],
    popularity=[7, 3, 1, 1, 0, 0],
)
IDEAL_3 = 1 + 1 / log2(3) + 1 / 2


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (Recall.Config().build(), 1, [1, 0, 0]),
        (Recall.Config().build(), 2, [1 / 2, 1, 0]),
        (Recall.Config().build(), 4, [2 / 3, 1, 0]),
        (UncappedRecall.Config().build(), 1, [1 / 3, 0, 0]),
        (UncappedRecall.Config().build(), 4, [2 / 3, 1, 0]),
        (Ndcg.Config().build(), 1, [1, 0, 0]),
        (Ndcg.Config().build(), 4, [1.5 / IDEAL_3, 1 / log2(3), 0]),
        (Mrr.Config().build(), 1, [1, 0, 0]),
        (Mrr.Config().build(), 4, [1, 1 / 2, 0]),
        (HitRate.Config().build(), 1, [1, 0, 0]),
        (HitRate.Config().build(), 4, [1, 1, 0]),
        (Precision.Config().build(), 2, [1 / 2, 1 / 2, 0]),
        (Precision.Config().build(), 4, [2 / 4, 1 / 4, 0]),
        (AveragePrecision.Config().build(), 2, [1 / 2, 1 / 2, 0]),
        (AveragePrecision.Config().build(), 4, [(1 + 2 / 3) / 3, 1 / 2, 0]),
        # p = (8, 4, 2, 2, 1, 1) / 18
        (Novelty.Config().build(), 1, [log2(18 / 8), log2(18 / 8), log2(18 / 4)]),
        (Novelty.Config().build(), 4, [log2(18) - 7 / 4, log2(18) - (3 + 0 + 2 + 1) / 4, log2(18) - 5 / 2]),
    ],
    ids=lambda value: value.name if isinstance(value, UserMetric) else str(value)[:12],
)
def test_user_metric(metric: UserMetric, k: int, expected: list[float]) -> None:
    np.testing.assert_allclose(metric.per_user(RANKING, k), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (Coverage.Config().build(), 1, 2 / 6),
        (Coverage.Config().build(), 4, 5 / 6),
        # counts 0 0 0 0 1 2 and 0 1 1 2 3 3
        (Gini.Config().build(), 1, (3 * 1 + 5 * 2) / (6 * 3)),
        (Gini.Config().build(), 4, (-3 * 1 - 1 * 1 + 1 * 2 + 3 * 3 + 5 * 3) / (6 * 10)),
    ],
)
def test_catalogue_metric(metric: CatalogueMetric, k: int, expected: float) -> None:
    assert metric.value(RANKING, k) == pytest.approx(expected, abs=1e-12)


def test_k_beyond_the_lists_is_refused() -> None:
    with pytest.raises(AssertionError, match="length 4"):
        Recall.Config().build().per_user(RANKING, 5)


def test_ranking_keeps_the_users_taken() -> None:
    taken = RANKING.take(np.array([False, True, True]))
    assert Recall.Config().build().per_user(taken, 4).tolist() == [1.0, 0.0]
