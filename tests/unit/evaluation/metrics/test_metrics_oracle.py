"""Our metrics against ir-measures, an independent implementation."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG

from twotower.evaluation.metrics.average_precision import AveragePrecision
from twotower.evaluation.metrics.hit_rate import HitRate
from twotower.evaluation.metrics.metric import Ranking, UserMetric
from twotower.evaluation.metrics.mrr import Mrr
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.precision import Precision
from twotower.evaluation.metrics.recall import Recall
from twotower.evaluation.metrics.uncapped_recall import UncappedRecall

NUM_ITEMS = 60
K = 20


def random_case(seed: int) -> tuple[Ranking, list[set[int]]]:
    generator = np.random.default_rng(seed)
    lists = [generator.permutation(NUM_ITEMS)[:K] + 1 for _ in range(40)]
    relevant = [
        set((generator.permutation(NUM_ITEMS)[: generator.integers(1, 40)] + 1).tolist()) for _ in lists
    ]
    return Ranking.from_lists([row.tolist() for row in lists], relevant, [1] * NUM_ITEMS), relevant


def oracle(measure: object, ranking: Ranking, relevant: list[set[int]]) -> np.ndarray:
    qrels = {str(q): {str(row): 1 for row in rows} for q, rows in enumerate(relevant)}
    run = {
        str(q): {str(row): float(K - place) for place, row in enumerate(listed)}
        for q, listed in enumerate(ranking.items.tolist())
    }
    values = {int(found.query_id): found.value for found in ir_measures.iter_calc([measure], qrels, run)}
    return np.array([values[q] for q in range(len(relevant))])


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize(
    ("ours", "theirs", "divides_by_all_relevant"),
    [
        (Recall.Config().build(), R, True),
        (UncappedRecall.Config().build(), R, False),
        (AveragePrecision.Config().build(), AP, True),
        (Ndcg.Config().build(), nDCG, False),
        (Mrr.Config().build(), RR, False),
        (Precision.Config().build(), P, False),
        (HitRate.Config().build(), Success, False),
    ],
    ids=lambda value: value.name if isinstance(value, UserMetric) else "",
)
def test_equals_ir_measures(ours: UserMetric, theirs: object, divides_by_all_relevant: bool, k: int) -> None:
    for seed in range(3):
        ranking, relevant = random_case(seed)
        expected = oracle(theirs @ k, ranking, relevant)  # type: ignore[operator]
        if divides_by_all_relevant:
            expected = expected * ranking.num_relevant / np.minimum(k, ranking.num_relevant)
        np.testing.assert_allclose(ours.per_user(ranking, k), expected, atol=1e-9)
