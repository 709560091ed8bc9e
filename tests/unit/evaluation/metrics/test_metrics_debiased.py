"""Debiased metrics against slow versions of the definitions of two libraries, and by hand.

WarpRec 2026: IPSRecall, SNIPSRecall, IPSDCG and SNIPSDCG. RecTools 0.19: `debias_config`, which removes
interactions of items above a fence at random; its expectation is a weight per interaction.
"""

from math import log2
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twotower.evaluation.metrics.ips_ndcg import IpsNdcg
from twotower.evaluation.metrics.ips_recall import IpsRecall
from twotower.evaluation.metrics.metric import Ranking
from twotower.evaluation.metrics.ndcg import Ndcg
from twotower.evaluation.metrics.recall import Recall

Case = tuple[list[list[int]], list[set[int]], list[int]]
NUM_CASES = 200


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    num_items, num_users = int(rng.integers(3, 30)), int(rng.integers(1, 6))
    length = int(rng.integers(1, num_items + 1))
    lists = [(rng.permutation(num_items)[:length] + 1).tolist() for _ in range(num_users)]
    relevant = [set((rng.permutation(num_items)[: rng.integers(0, num_items)] + 1).tolist()) for _ in lists]
    popularity = (rng.pareto(1.0, num_items) * 10).astype(int)  # some are 0
    return lists, relevant, popularity.tolist()


def warprec(name: str, listed: list[int], wanted: set[int], counts: list[int], k: int) -> float:
    """Return a metric of WarpRec for one user, with its defaults: power .5, propensities of at least .1."""
    largest = max(counts)
    propensity = [1.0 if largest == 0 else max(0.1, (each / largest) ** 0.5) for each in counts]
    gained = 0.0
    for position, row in enumerate(listed[:k]):
        if row in wanted:
            gained += (1 / log2(position + 2) if "DCG" in name else 1) / propensity[row - 1]
    if not wanted:
        return 0.0
    if name.startswith("SNIPS"):
        return gained / sum(1 / propensity[row - 1] for row in wanted)
    return gained / len(wanted) if name == "IPSRecall" else gained


@pytest.mark.parametrize("name", ["IPSRecall", "SNIPSRecall", "IPSDCG", "SNIPSDCG"])
def test_equals_warprec_on_random_cases(name: str) -> None:
    kind = IpsNdcg if "DCG" in name else IpsRecall
    metric = kind.Config(normalize="weights" if name.startswith("SNIPS") else "relevant").build()
    for seed in range(NUM_CASES):
        lists, relevant, counts = random_case(seed)
        ranking = Ranking.from_lists(lists, relevant, counts)
        k = 1 + seed % ranking.max_k
        found = metric.per_user(ranking, k) * (ranking.num_relevant if name == "IPSDCG" else 1)
        expected = [warprec(name, *each, counts, k) for each in zip(lists, relevant, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def downsampled(log: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the interactions that RecTools keeps: of items above the fence, a random part of that size."""
    sizes = log.groupby("item").size()
    low, high = np.percentile(sizes, 25), np.percentile(sizes, 75)
    fence = int(high + 1.5 * (high - low))
    return log.sample(frac=1.0, random_state=seed).groupby("item").head(fence)


def test_weights_by_iqr_are_the_share_that_rectools_keeps() -> None:
    metric = IpsRecall.Config(propensity="iqr").build()
    for seed in range(NUM_CASES):
        popularity = np.array(random_case(seed)[2])
        log = pd.DataFrame({"item": np.repeat(np.arange(len(popularity)), popularity)})
        if len(log):
            kept = downsampled(log, seed).groupby("item").size().reindex(range(len(popularity)))
            expected = (kept / np.where(popularity > 0, popularity, 1)).fillna(1)
            np.testing.assert_allclose(metric.weights(np.append(0, popularity))[1:], expected)


@pytest.mark.parametrize(("kind", "plain"), [(IpsRecall, Recall), (IpsNdcg, Ndcg)])
def test_without_differences_of_popularity_it_is_the_plain_metric(kind: Any, plain: Any) -> None:
    for seed in range(NUM_CASES):
        lists, relevant, counts = random_case(seed)
        equal, unequal = (Ranking.from_lists(lists, relevant, each) for each in ([7] * len(counts), counts))
        for k in (1, equal.max_k):
            expected = plain.Config().build().per_user(equal, k)
            np.testing.assert_allclose(kind.Config().build().per_user(equal, k), expected, atol=1e-12)
            uncorrected = kind.Config(power=0.0).build().per_user(unequal, k)
            np.testing.assert_allclose(uncorrected, expected, atol=1e-12)
            by_rank = kind.Config(power=3.0, min_propensity=1.0).build().per_user(unequal, k)
            np.testing.assert_allclose(by_rank, expected, atol=1e-12)


RANKING = Ranking.from_lists([[1, 2, 3, 4]], relevant=[{1, 3, 5}], popularity=[16, 4, 4, 1, 1])


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [  # weights 1, 2, 2, 4, 4; clipped at .5: 1, 2, 2, 2, 2
        (IpsRecall.Config(), 1, 1 / 4),
        (IpsRecall.Config(), 3, 3 / (4 + 2 + 1)),
        (IpsRecall.Config(min_propensity=0.5), 3, 3 / (2 + 2 + 1)),
        (IpsRecall.Config(normalize="weights"), 1, 1 / 7),
        (IpsRecall.Config(normalize="relevant"), 3, 3 / 3),
        (IpsNdcg.Config(), 3, (1 + 2 / 2) / (4 + 2 / log2(3) + 1 / 2)),
        (IpsRecall.Config(power=1.0, min_propensity=0.01), 1, 1 / 16),
    ],
)
def test_by_hand(metric: IpsRecall.Config, k: int, expected: float) -> None:
    assert metric.build().per_user(RANKING, k).tolist() == pytest.approx([expected])


def test_settings_of_the_other_propensity_are_reported() -> None:
    assert list(IpsRecall.Config(propensity="iqr", power=1.0).unused()) == [
        ("power", "propensity=power reads it")
    ]
    assert not list(IpsRecall.Config(power=1.0).unused())
