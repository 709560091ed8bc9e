"""`scripts/bench/churn.py`: exact search is exact at every step, and maintenance evens out the clusters."""

from typing import Any

import numpy as np
from churn import changes, rotated, steps

from twotower.index.index import Index
from twotower.index.kinds.flat_ip import FlatIP
from twotower.index.kinds.ivf_flat import IVFFlat


def test_a_rotation_keeps_lengths_and_has_the_angle() -> None:
    np.testing.assert_allclose(rotated(np.float32([[1, 0]]), 90, np.array([0, 1])), [[0, 1]], atol=1e-6)
    vectors = np.random.default_rng(0).standard_normal((20, 8), dtype=np.float32)
    after = rotated(vectors, 30, np.arange(8))
    squares = (vectors**2).sum(axis=1)
    np.testing.assert_allclose((after**2).sum(axis=1), squares, rtol=1e-5)
    np.testing.assert_allclose((vectors * after).sum(axis=1), np.cos(np.pi / 6) * squares, rtol=1e-5)


def test_recall_is_that_of_the_live_items_and_clusters_are_measured_with_and_without_maintenance() -> None:
    random = np.random.default_rng(0)
    items, queries = (random.standard_normal((size, 8), dtype=np.float32) for size in (1500, 40))
    vectors, made = steps(items, queries, gather=0.9)
    assert [(step.first, step.end) for step in made[:3]] == [(0, 1275), (64, 1339), (128, 1403)]
    assert [len(each) for each in (made[0].fitted, made[0].tuning.queries, made[0].test.queries)] == [
        10,
        10,
        20,
    ]

    def measured(config: Index.Config, target_recall: float | None) -> list[dict[str, Any]]:
        index = config.build()
        index.build(vectors[: made[0].end], np.arange(made[0].end))
        return list(changes(index, vectors, made, target_recall))

    exact = measured(FlatIP.Config(), None)
    assert [(step["recall@10"], step["recall@100"]) for step in exact] == [(1.0, 1.0)] * 7
    clusters = IVFFlat.Config(nlist=8, nprobe=8)
    maintained, as_built = measured(clusters, 0.99)[-1], measured(clusters, None)[-1]
    assert maintained["recall@100"] == as_built["recall@100"] == 1.0
    assert as_built["clusters"] == 8
    assert maintained["imbalance"] < 0.9 * as_built["imbalance"]
